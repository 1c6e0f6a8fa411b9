import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { logAsNdjson, logAsText } from './log-text.js';

const time = '2026-01-02T03:04:05.678901234Z';
async function* pieces(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const end = at + (sizes[i % sizes.length] ?? 1);
    yield bytes.subarray(at, end);
    at = end;
  }
}
const collect = async (chunks: AsyncIterable<string | Buffer>): Promise<string> => {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts).toString();
};

describe('a log', () => {
  it('as text is what was written, however its chunks fall', async () => {
    const line = fc.record({
      stream: fc.constantFrom('stdout', 'stderr'),
      text: fc.string({ unit: 'grapheme' }).map((t) => t.replace(/\n/g, '')),
      partial: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(line), fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), async (lines, sizes) => {
        const file = Buffer.from(lines.map(({ stream, text, partial }) => `${time} ${stream} ${partial ? 'P' : 'F'} ${text}\n`).join(''));
        const written = (only?: string) =>
          lines
            .filter(({ stream }) => only === undefined || stream === only)
            .map(({ text, partial }) => text + (partial ? '' : '\n'))
            .join('');
        expect(await collect(logAsText(pieces(file, sizes), undefined))).toBe(written());
        expect(await collect(logAsText(pieces(file, sizes), 'stderr'))).toBe(written('stderr'));
        const records = (await collect(logAsNdjson(pieces(file, sizes), undefined)))
          .split('\n')
          .filter(Boolean)
          .map((text) => JSON.parse(text));
        expect(records.map(({ text, partial }) => text + (partial ? '' : '\n')).join('')).toBe(written());
      }),
    );
  });

  it('as records keeps a character whole that was cut between parts', async () => {
    const euro = Buffer.from('€');
    const file = Buffer.concat([
      Buffer.from(`${time} stdout P `),
      euro.subarray(0, 2),
      Buffer.from(`\n${time} stdout F `),
      euro.subarray(2),
      Buffer.from('\n'),
    ]);
    const text = await collect(logAsNdjson(pieces(file, [7]), undefined));
    expect(
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).text),
    ).toEqual(['', '€']);
  });

  it('leaves out what is no record, and does not grow with an endless line', async () => {
    const file = Buffer.concat([Buffer.from('nonsense\n'), Buffer.alloc(300_000, 'x'), Buffer.from(`\n${time} stdout F ok\n`)]);
    expect(await collect(logAsText(pieces(file, [5000]), undefined))).toBe('ok\n');
  });
});

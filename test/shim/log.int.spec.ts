import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { outputOf, parseLog, ShimBench, slowMachine, until } from './shim-fixture.js';

let bench: ShimBench;
const mounted: string[] = [];
beforeAll(async () => {
  bench = await ShimBench.open();
});
afterEach(() => {
  for (const path of mounted.splice(0)) execFileSync('umount', ['-l', path]);
});
afterAll(() => bench.close());

async function tinyDisk(bytes: number): Promise<string> {
  const path = join(bench.home, `disk-${mounted.length}-${Date.now()}`);
  await mkdir(path, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'tiny', path]);
  mounted.push(path);
  return path;
}

const droppedByMarkers = (text: string): number =>
  [...text.matchAll(/stderr F \[berth: (\d+) bytes of output dropped\]\n/g)].reduce((sum, m) => sum + Number(m[1]), 0);

describe('records', () => {
  it('carry stream, tag and a time that never goes back', async () => {
    const { record, log } = await bench.runToEnd({ command: 'echo one; sleep 0.05; echo two >&2; sleep 0.05; printf three' });
    expect(log.map((r) => [r.stream, r.tag, r.bytes.toString()])).toEqual([
      ['stdout', 'F', 'one'],
      ['stderr', 'F', 'two'],
      ['stdout', 'P', 'three'],
    ]);
    const times = log.map((r) => r.time);
    expect(times).toEqual([...times].sort());
    expect(times[0] && times[0] >= record.startedAt).toBe(true);
  });

  it('appear as the lines come, not when the container ends', async () => {
    const shim = await bench.start({ command: 'echo early; sleep 1000' });
    await until(async () => outputOf(await shim.log(), 'stdout').toString() === 'early\n');
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });

  it('hold any bytes, and are together exactly what was written', async () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.constant(new Uint8Array([10])),
      fc.constant(new Uint8Array(20000).fill(120)),
      fc.constant(new Uint8Array(16384).fill(0)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
        const input = Buffer.concat(pieces);
        const { log, record } = await bench.runToEnd({ command: 'cat /input', files: { '/input': input } });
        expect(outputOf(log, 'stdout').equals(input)).toBe(true);
        expect(record.logDroppedBytes).toBe(0);
      }),
      { numRuns: slowMachine ? 3 : 12 },
    );
  });

  it('split one endless line into parts of 16 KiB', async () => {
    const size = 3_000_000;
    const { shim, log, record } = await bench.runToEnd({ command: `head -c ${size} /dev/zero | tr "\\0" x; echo` });
    expect(log.slice(0, -1).every((r) => r.tag === 'P' && r.bytes.length === 16384)).toBe(true);
    expect(log.at(-1)?.tag).toBe('F');
    expect(outputOf(log, 'stdout').length).toBe(size + 1);
    expect(record.logBytes).toBe(statSync(join(shim.dir, 'log')).size);
  });

  it('keep the two streams of a busy container apart', async () => {
    const { log } = await bench.runToEnd({ command: 'for i in 1 2 3 4 5 6 7 8 9; do printf a; printf b >&2; done; echo; echo >&2' });
    expect(outputOf(log, 'stdout').toString()).toBe('aaaaaaaaa\n');
    expect(outputOf(log, 'stderr').toString()).toBe('bbbbbbbbb\n');
  });
});

describe('the limit', () => {
  it('stops the log for good, reads on, and says how much is missing', async () => {
    const max = 50_000;
    const { shim, record } = await bench.runToEnd({
      command: 'i=0; while [ $i -lt 5000 ]; do echo "line $i"; i=$((i+1)); done; exit 8',
      flags: ['--log-max-bytes', `${max}`],
    });
    expect(record.exitCode).toBe(8);
    const file = await readFile(join(shim.dir, 'log'));
    const records = parseLog(file);
    const kept = records.slice(0, -1);
    expect(records.at(-1)?.bytes.toString()).toBe(`[berth: ${record.logDroppedBytes} bytes of output dropped]`);
    expect(records.at(-1)).toMatchObject({ stream: 'stderr', tag: 'F' });
    expect(kept.map((r) => r.bytes.toString())).toEqual(kept.map((_, i) => `line ${i}`));
    const written = Array.from({ length: 5000 }, (_, i) => `line ${i}\n`).join('').length;
    expect(outputOf(kept, 'stdout').length + record.logDroppedBytes).toBe(written);
    expect(file.length).toBeLessThanOrEqual(max + 150);
    expect(record.logBytes).toBe(file.length);
  });

  it('of zero keeps the marker alone', async () => {
    const { log, record } = await bench.runToEnd({ command: 'echo 12345', flags: ['--log-max-bytes', '0'] });
    expect(log.map((r) => r.bytes.toString())).toEqual(['[berth: 6 bytes of output dropped]']);
    expect(record.logDroppedBytes).toBe(6);
  });
});

describe('a full disk', () => {
  it('neither holds the container up nor loses the exit record', async () => {
    const dir = await tinyDisk(128 << 10);
    const size = 2_000_000;
    const { record } = await bench.runToEnd({ dir, command: `yes 0123456789 | head -c ${size}; exit 5` });
    expect(record.exitCode).toBe(5);
    const log = readFileSync(join(dir, 'log'));
    const text = log.toString('latin1');
    const kept = outputOf(
      parseLog(log).filter((r) => r.stream === 'stdout'),
      'stdout',
    );
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length + record.logDroppedBytes).toBe(size);
    expect(droppedByMarkers(text)).toBeLessThanOrEqual(record.logDroppedBytes);
    expect(record.logBytes).toBe(log.length);
  });

  it('that gets room again gets the log’s continuation, with a marker at the gap', async () => {
    const dir = await tinyDisk(1 << 20);
    const filler = join(dir, 'filler');
    const flood = 11 * 27_000;
    const script = `go() { while [ ! -e /tmp/$1 ]; do sleep 0.05; done; }; echo first; go flood; yes 0123456789 | head -c ${flood}; echo >/tmp/flooded; go last; echo last`;
    const shim = await bench.start({ dir, command: script });
    const inside = (name: string) => `/proc/${shim.pid}/root/tmp/${name}`;
    await until(async () => outputOf(await shim.log(), 'stdout').toString() === 'first\n');
    const before = statSync(join(dir, 'log')).size;
    expect(() => writeFileSync(filler, Buffer.alloc(2 << 20))).toThrow('ENOSPC');
    writeFileSync(inside('flood'), '');
    // The container writes on and on although next to nothing can be kept.
    await until(() => existsSync(inside('flooded')));
    rmSync(filler);
    await until(() => statSync(join(dir, 'log')).size > before + 4096);
    writeFileSync(inside('last'), '');
    const record = await shim.ended();
    const records = await shim.log();
    expect(records.findLastIndex((r) => r.bytes.includes('[berth:'))).toBeLessThan(
      records.findIndex((r) => r.bytes.equals(Buffer.from('last'))),
    );
    const out = outputOf(records, 'stdout').toString();
    expect(out.startsWith('first\n')).toBe(true);
    expect(out.endsWith('last\n')).toBe(true);
    expect(record.logDroppedBytes).toBeGreaterThan(0);
    expect(droppedByMarkers(readFileSync(join(dir, 'log'), 'latin1'))).toBe(record.logDroppedBytes);
    expect(out.length + record.logDroppedBytes).toBe('first\nlast\n'.length + flood);
  });
});

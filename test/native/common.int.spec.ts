import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nativeDir } from './bundle.js';

const run = (mode: string, input: string | Buffer): string => {
  const { stdout, status, stderr } = spawnSync(join(nativeDir, 'test/common'), [mode], { input, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`status ${status}: ${stderr}`);
  return stdout.toString();
};
const echo = (lines: string[]): string[] =>
  run('json', `${lines.join('\n')}\n`)
    .split('\n')
    .slice(0, -1);

describe('the JSON reader', () => {
  it('reads any JSON and writes it again with the same meaning', () => {
    // Strings without NUL, which are refused, and keys that survive Object semantics.
    const string = fc.string({ unit: 'binary' }).map((s) => s.replaceAll('\0', ''));
    const json = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 5 },
        fc.constant(null),
        fc.boolean(),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        string,
        tie('array'),
        tie('object'),
      ),
      array: fc.array(tie('value'), { maxLength: 5 }),
      object: fc.dictionary(string, tie('value'), { maxKeys: 5 }),
    })).value;
    fc.assert(
      fc.property(fc.array(json, { minLength: 50, maxLength: 200 }), (values) => {
        const texts = values.map((value) => JSON.stringify(value));
        expect(echo(texts).map((text) => JSON.parse(text))).toEqual(texts.map((text) => JSON.parse(text)));
      }),
      { numRuns: 20 },
    );
  });

  it('accepts nothing that JSON.parse refuses, and never crashes, whatever the bytes', () => {
    const seed = readFileSync('native/seccomp/default.json').subarray(0, 400).toString('latin1').replaceAll('\n', ' ');
    const mutated = fc
      .tuple(fc.nat(seed.length), fc.string({ unit: 'binary-ascii', maxLength: 4 }), fc.nat(8))
      .map(([at, text, cut]) => seed.slice(0, at) + text + seed.slice(at + cut));
    const tokens = fc
      .array(fc.constantFrom('{', '}', '[', ']', '"', '\\', '\\u00', '\\ud800', ',', ':', '1', '-', '.', 'e', 'null', 'tru', ' ', '"a"'), {
        maxLength: 12,
      })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.array(fc.oneof(mutated, tokens, fc.string()), { minLength: 200, maxLength: 400 }), (texts) => {
        const lines = texts.map((text) => text.replaceAll(/[\n\r]/g, ' '));
        echo(lines).forEach((answer, i) => {
          if (!answer.startsWith('error: ')) expect(() => JSON.parse(lines[i] ?? ''), lines[i]).not.toThrow();
        });
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    ['"\\u0000"', 'a NUL character is not allowed'],
    ['{"a":1,"a":2}', 'duplicate member name'],
    ['{"a":1,"\\u0061":2}', 'duplicate member name'],
    ['"\\ud800"', 'lone surrogate'],
    ['"\\udc00\\ud800"', 'lone surrogate'],
    ['01', 'malformed number'],
    ['1.', 'malformed number'],
    ['"', 'unterminated string'],
    ['"\\', 'unterminated string'],
    ['"\t"', 'control character'],
    ['nul', 'unexpected character'],
    ['1 2', 'text after the value'],
    ['[1,]', 'unexpected character'],
    ['{"a"}', "expected ':'"],
    [`${'['.repeat(65)}${']'.repeat(65)}`, 'nested too deeply'],
  ])('refuses %s', (text, message) => {
    expect(echo([text])[0]).toContain(message);
  });

  it.each(['80', 'c0af', 'c3', 'e28228', 'eda080', 'f0808080', 'f4908080', 'ff'])('refuses bytes that are no UTF-8: %s', (bytes) => {
    const text = Buffer.concat([Buffer.from('["'), Buffer.from(bytes, 'hex'), Buffer.from('"]\n')]);
    expect(run('json', text)).toContain('not UTF-8');
  });

  it('keeps integers whole, up to 2^64 - 1', () => {
    expect(echo(['18446744073709551615', '-9223372036854775808'])).toEqual(['18446744073709551615', '-9223372036854775808']);
  });

  it('refuses an object of too many members', () => {
    const members = (n: number): string => `{${Array.from({ length: n }, (_, i) => `"k${i}":0`).join(',')}}`;
    expect(echo([members(4096)])[0]).toMatch(/^\{/);
    expect(echo([members(4097)])[0]).toContain('too many members');
    for (const of of [2, 32, 33, 34, 4096]) {
      for (const like of [0, of - 2])
        expect(echo([members(of - 1).replace('}', `,"k${like}":1}`)])[0], `${of}`).toContain('duplicate member name');
    }
  });
});

describe('the bytes that a cgroup moved', () => {
  const moved = (version: string, ...lines: string[]): unknown => JSON.parse(run(`io-${version}`, `${lines.join('\n')}\n`));

  it('are summed over disks, loop devices left out', () => {
    expect(
      moved(
        'v2',
        '7:0 rbytes=9 wbytes=9 rios=1 wios=1 dbytes=0 dios=0',
        '254:0 rbytes=4096 wbytes=8192 rios=1',
        '8:0',
        '8:16 rbytes=1 wbytes=2',
      ),
    ).toEqual({ read: 4097, written: 8194 });
    expect(moved('v1', '7:0 Read 9', '254:0 Read 4096', '254:0 Write 8192', '254:0 Sync 1', '254:0 Total 12288', 'Total 12288')).toEqual({
      read: 4096,
      written: 8192,
    });
    expect(moved('v2', '')).toEqual({ read: 0, written: 0 });
  });
});

describe('the cgroup layout', () => {
  const line = (mount: string, type: string, options: string): string =>
    `31 23 0:28 / ${mount} rw,relatime shared:9 - ${type} ${type} rw,${options}`;
  const layout = (...lines: string[]): Record<string, string> => JSON.parse(run('cgroup', `${lines.join('\n')}\n`));

  it('is read from v1 mounts, co-mounted controllers among them', () => {
    expect(
      layout(
        line('/sys/fs/cgroup/cpu,cpuacct', 'cgroup', 'cpu,cpuacct'),
        line('/sys/fs/cgroup/memory', 'cgroup', 'memory'),
        line('/sys/fs/cgroup/systemd', 'cgroup', 'xattr,name=systemd'),
      ),
    ).toEqual({ mode: 'v1', cpu: '/sys/fs/cgroup/cpu,cpuacct', cpuacct: '/sys/fs/cgroup/cpu,cpuacct', memory: '/sys/fs/cgroup/memory' });
  });

  it('is v2 with one hierarchy and hybrid with more', () => {
    const v2 = line('/sys/fs/cgroup', 'cgroup2', 'nsdelegate');
    expect(layout(v2)).toEqual({ mode: 'v2', unified: '/sys/fs/cgroup' });
    expect(layout(line('/sys/fs/cgroup/unified', 'cgroup2', 'nsdelegate'), line('/sys/fs/cgroup/pids', 'cgroup', 'pids')).mode).toBe(
      'hybrid',
    );
  });

  it('takes the first mount of a hierarchy, and paths with spaces', () => {
    expect(layout(line('/mnt/a\\040b', 'cgroup', 'memory'), line('/other', 'cgroup', 'memory'))).toEqual({
      mode: 'v1',
      memory: '/mnt/a b',
    });
  });

  it('ignores every other mount and any damage', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ unit: 'binary-ascii' }).map((s) => s.replaceAll('\0', ' ')),
          { maxLength: 20 },
        ),
        (lines) => {
          expect(layout(...lines.map((text) => text.replaceAll('cgroup', 'x'))).mode).toBe('none');
        },
      ),
      { numRuns: 30 },
    );
  });
});

import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { collectProgram } from './collect-program.js';

/** The real files that the system's own loader maps for a program. */
const mapped = (program: string): string[] =>
  execFileSync('ldd', [program])
    .toString()
    .split('\n')
    .flatMap((line) => /(?:=> )?(\/\S+) \(/.exec(line)?.[1] ?? [])
    .map((path) => realpathSync(path));

describe('a collected program', () => {
  it.each([process.execPath, '/bin/sh'])('%s comes with every file that its loader would map', async (program) => {
    const files = (await collectProgram(program)).flatMap((entry) =>
      entry.type === 'file' && 'hostFile' in entry ? [entry.hostFile] : [],
    );
    expect(files).toEqual(expect.arrayContaining([...mapped(program), realpathSync(program)]));
  });

  it('can stand elsewhere than on the host', async () => {
    const entries = await collectProgram(process.execPath, { at: '/usr/local/bin/node' });
    expect(entries).toContainEqual({ type: 'file', path: '/usr/local/bin/node', hostFile: realpathSync(process.execPath), mode: 0o755 });
  });
});

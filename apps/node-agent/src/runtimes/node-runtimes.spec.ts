import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRuntimes, nodeRuntimes } from './node-runtimes.js';

describe('the runtimes of a node', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'berth-runtimes-'));
    await writeFile(join(folder, 'runc'), '', { mode: 0o755 });
    await writeFile(join(folder, 'crun'), '');
    await chmod(join(folder, 'crun'), 0o644);
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('are those on PATH that can be executed, where the operator says nothing', () => {
    expect([...findRuntimes(undefined, `/no/such:${folder}`)]).toEqual([['runc', join(folder, 'runc')]]);
    expect([...findRuntimes('none', folder)]).toEqual([]);
  });

  it('are those that the operator names', () => {
    expect([...findRuntimes('runc', folder)]).toEqual([['runc', join(folder, 'runc')]]);
    expect([...findRuntimes('runsc=/bin/sh', folder)]).toEqual([['runsc', '/bin/sh']]);
  });

  it.each([
    ['docker', 'there is no runtime class docker: write none, or some of runc, crun, runsc'],
    ['berth=/bin/sh', 'there is no runtime class berth'],
    ['crun', 'crun is not there: install it'],
    ['runc=sh', 'runc=sh is not there'],
  ])('are refused as %s', (choice, message) => {
    expect(() => findRuntimes(choice, folder)).toThrow(message);
  });

  it('keep their containers apart', () => {
    const programs = Object.assign(new Map([['runsc', '/bin/runsc'] as const]), { default: '/bin/berth-runtime' });
    const runtimes = nodeRuntimes(programs, '/run/x');
    expect(runtimes.default).toMatchObject({ runtimeClass: 'berth', program: '/bin/berth-runtime', root: '/run/x' });
    expect(runtimes.get('runsc')).toMatchObject({ root: '/run/x.runsc', globalArguments: ['--network=none'] });
  });
});

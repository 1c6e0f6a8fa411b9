import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { isAlive, parseProcessStat, readProcessIdentity } from './process-identity.js';

const stat = (name: string, state: string) => `7 (${name}) ${state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1000 1 0`;

describe('the identity of a process', () => {
  it.each(['sh', 'a b', 'a) S 1 (b', ')'])('is read past the name %j', (name) => {
    expect(parseProcessStat(7, stat(name, 'S'))).toEqual({ pid: 7, startTime: 4242 });
  });

  it('is none for one that is dead already', () => {
    expect(parseProcessStat(7, stat('sh', 'Z'))).toBeNull();
    expect(parseProcessStat(7, '')).toBeNull();
  });

  it('is that of a live process until it ends, and never of another with its id', async () => {
    const child = spawn('sleep', ['60']);
    const identity = await readProcessIdentity(child.pid ?? 0);
    if (identity === null) throw new Error('the process has an identity');
    expect(await isAlive(identity)).toBe(true);
    expect(await isAlive({ ...identity, startTime: identity.startTime - 1 })).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(await isAlive(identity)).toBe(false);
  });
});

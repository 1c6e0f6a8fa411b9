import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { KeyedLock } from './keyed-lock.js';

describe('a keyed lock', () => {
  it('runs the holders of one key one after the other, in order, and failures release it', async () => {
    const lock = new KeyedLock();
    const events: string[] = [];
    const hold = (name: string, fails = false): Promise<void> =>
      lock.hold('key', async () => {
        events.push(`${name} in`);
        await sleep(2);
        events.push(`${name} out`);
        if (fails) throw new Error(name);
      });
    const results = await Promise.allSettled([hold('a'), hold('b', true), hold('c')]);
    expect(events).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('lets different keys pass each other', async () => {
    const lock = new KeyedLock();
    let release = (): void => undefined;
    const blocked = lock.hold(
      'a',
      () =>
        new Promise<void>((resolve) => {
          release = resolve;
        }),
    );
    await expect(lock.hold('b', async () => 'through')).resolves.toBe('through');
    release();
    await blocked;
  });
});

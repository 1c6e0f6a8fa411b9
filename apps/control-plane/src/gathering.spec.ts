import { describe, expect, it } from 'vitest';
import { Gathering } from './gathering.js';

describe('a gathering', () => {
  it('does together what is asked for together, and answers each in its turn', async () => {
    const batches: number[][] = [];
    const doubled = new Gathering<number, number>(
      async (items) => {
        batches.push([...items]);
        await new Promise((resolve) => setImmediate(resolve));
        return items.map((item) => 2 * item);
      },
      { atOnce: 1, itemsMax: 3 },
    );
    const first = [1, 2].map((item) => doubled.run(item));
    await new Promise((resolve) => setImmediate(resolve));
    const second = [3, 4, 5, 6].map((item) => doubled.run(item));
    expect(await Promise.all([...first, ...second])).toEqual([2, 4, 6, 8, 10, 12]);
    expect(batches).toEqual([[1, 2], [3, 4, 5], [6]]);
  });

  it('lets nobody pay for what fails for another', async () => {
    const picky = new Gathering<number, number>(async (items) => {
      if (items.includes(2)) throw new Error('two');
      return items;
    });
    const outcomes = await Promise.allSettled([1, 2, 3].map((item) => picky.run(item)));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});

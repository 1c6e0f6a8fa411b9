import { describe, expect, it } from 'vitest';
import { bytesToFree } from './collection-goal.js';

describe('what a collection should free', () => {
  const marks = { highPercent: 85, lowPercent: 80, imagesMaxBytes: null };
  const disk = (used: number) => ({ capacityBytes: 1000, availableBytes: 1000 - used });

  it('is nothing up to the high mark, and beyond it all that is above the low one', () => {
    expect(bytesToFree(disk(850), 500, marks)).toBe(0);
    expect(bytesToFree(disk(851), 500, marks)).toBe(51);
    expect(bytesToFree(disk(1000), 500, marks)).toBe(200);
  });

  it('is nothing on a full disk when the operator switched it off', () => {
    expect(bytesToFree(disk(1000), 500, { ...marks, highPercent: 100 })).toBe(0);
  });

  it('goes by the bound on layers too, down to the same proportion', () => {
    const bounded = { ...marks, imagesMaxBytes: 170 };
    expect(bytesToFree(disk(10), 170, bounded)).toBe(0);
    expect(bytesToFree(disk(10), 171, bounded)).toBe(11);
    expect(bytesToFree(disk(900), 171, bounded)).toBe(100);
  });
});

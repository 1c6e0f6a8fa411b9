import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs } from './backoff.js';

describe('the pause before the link is dialled again', () => {
  it('is bounded, never nothing, and longer at most with each failure', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.double({ min: 0, max: 1, noNaN: true }), (failures, random) => {
        const pauseMs = backoffMs(failures, random);
        expect(pauseMs).toBeGreaterThanOrEqual(125);
        expect(pauseMs).toBeLessThanOrEqual(10_000);
        expect(backoffMs(failures + 1, random)).toBeGreaterThanOrEqual(pauseMs);
      }),
    );
  });

  it('differs from node to node', () => {
    expect(backoffMs(5, 0)).toBeLessThan(backoffMs(5, 1));
  });
});

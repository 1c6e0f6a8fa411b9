import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addAmounts, checkQuota, describeShortage, noAmount, type QuotaAmount, quotaDimensions, runAmount } from './quota.js';

const number = fc.nat(1000);
const amount: fc.Arbitrary<QuotaAmount> = fc.record({ concurrentRuns: number, cpuMillis: number, memoryBytes: number });

describe('quota', () => {
  it('fits exactly when every dimension of used and requested stays within the limit', () => {
    fc.assert(
      fc.property(amount, amount, amount, (limit, used, requested) => {
        const sum = addAmounts(used, requested);
        expect(checkQuota(limit, used, requested).kind === 'fits').toBe(quotaDimensions.every((d) => sum[d] <= limit[d]));
      }),
    );
  });

  it('never fits exactly when it would not fit an unused quota', () => {
    fc.assert(
      fc.property(amount, amount, amount, (limit, used, requested) => {
        const isNever = checkQuota(limit, used, requested).kind === 'neverFits';
        expect(isNever).toBe(checkQuota(limit, noAmount, requested).kind !== 'fits');
      }),
    );
  });

  it('names a dimension that is short, with its numbers', () => {
    fc.assert(
      fc.property(amount, amount, amount, (limit, used, requested) => {
        const decision = checkQuota(limit, used, requested);
        if (decision.kind === 'fits') return;
        const { dimension } = decision;
        expect(decision).toMatchObject({ limit: limit[dimension], used: used[dimension], requested: requested[dimension] });
        expect(decision.requested + (decision.kind === 'exceeds' ? decision.used : 0)).toBeGreaterThan(decision.limit);
      }),
    );
  });

  it('admits any order of requests without ever exceeding the limit', () => {
    fc.assert(
      fc.property(amount, fc.array(amount), (limit, requests) => {
        let used = noAmount;
        for (const request of requests) {
          if (checkQuota(limit, used, request).kind === 'fits') used = addAmounts(used, request);
          expect(quotaDimensions.every((d) => used[d] <= limit[d])).toBe(true);
        }
      }),
    );
  });

  it('says a shortage in words', () => {
    expect(describeShortage({ dimension: 'cpuMillis', limit: 1000, used: 900, requested: 200 })).toBe(
      'cpuMillis: 200 requested, 900 of 1000 used',
    );
    expect(runAmount({ cpuMillis: 5, memoryBytes: 6 })).toEqual({ concurrentRuns: 1, cpuMillis: 5, memoryBytes: 6 });
  });
});

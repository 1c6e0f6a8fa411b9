import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { askFleet, quotaShortages } from './explain.js';
import { type Fleet, place } from './place.js';
import { addAmounts, amountOf, checkQuota, type QuotaAmount } from './quota.js';

const size = fc.integer({ min: 0, max: 20 });
// Small beside `size`, so that about as many fit as do not.
const part = fc.integer({ min: 0, max: 6 });
const fleet: fc.Arbitrary<Fleet> = fc
  .array(
    fc.record({
      state: fc.constantFrom('ready' as const, 'ready' as const, 'lost' as const, 'draining' as const),
      cpuMillis: size,
      memoryBytes: size,
      diskBytes: size,
      reserved: fc.record({ cpuMillis: part, memoryBytes: part, diskBytes: part, runs: fc.constant(0) }),
      features: fc.subarray(['a', 'b']),
    }),
    { maxLength: 6 },
  )
  .map((nodes) => ({ nodes: nodes.map((node, i) => ({ id: `node_${i}`, ...node })) }));
const request = fc.record({
  cpuMillis: part,
  memoryBytes: part,
  diskBytes: part,
  needs: fc.subarray(['a', 'b']),
});
const amounts = (of: fc.Arbitrary<number>): fc.Arbitrary<QuotaAmount> =>
  fc.array(of, { minLength: 8, maxLength: 8 }).map((values) => {
    const rest = [...values];
    return amountOf(() => rest.pop() ?? 0);
  });

describe('an explanation', () => {
  it('finds room exactly where placement does, and counts every node once', () => {
    fc.assert(
      fc.property(fleet, request, (view, run) => {
        const { fitting, refusals } = askFleet(view, run);
        expect(fitting > 0).toBe(place(view, [{ runId: 'run_1', ...run }], 'spread').placements.length === 1);
        expect(refusals.reduce((sum, { nodes }) => sum + nodes, fitting)).toBe(view.nodes.length);
      }),
    );
  });

  it('names a shortage exactly where admission would not reserve behind those who wait', () => {
    fc.assert(
      fc.property(
        amounts(fc.integer({ min: 10, max: 20 })),
        amounts(part),
        amounts(part),
        amounts(part),
        (limit, used, ahead, requested) => {
          const isFree = checkQuota(limit, addAmounts(used, ahead), requested).kind === 'fits';
          expect(quotaShortages(limit, used, ahead, requested).length === 0).toBe(isFree);
        },
      ),
    );
  });
});

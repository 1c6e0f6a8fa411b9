import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addAmounts,
  amountOf,
  budgetMonth,
  checkQuota,
  chooseVictims,
  describeShortage,
  noAmount,
  type PreemptionCandidate,
  type QuotaAmount,
  quotaDimensions,
  rateMinute,
  runAmount,
  runCost,
} from './quota.js';

const number = fc.nat(1000);
const amount: fc.Arbitrary<QuotaAmount> = fc
  .array(number, { minLength: quotaDimensions.length, maxLength: quotaDimensions.length })
  .map((numbers) => amountOf((dimension) => numbers[quotaDimensions.indexOf(dimension)] ?? 0));

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
  });
});

describe('what a run takes', () => {
  const resources = { cpuMillis: fc.nat(1_024_000), memoryBytes: fc.nat(2 ** 44) };

  it('covers what all its attempts could cost, however long each of them really takes', () => {
    fc.assert(
      fc.property(
        fc.record(resources),
        fc.nat(2_592_000_000),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 10 }),
        (r, attemptMs, parts) => {
          const amount = runAmount({ ...r, attemptMs, maxAttempts: Math.max(1, parts.length) });
          const spent = runCost(
            r,
            parts.reduce((sum, part) => sum + Math.floor(part * attemptMs), 0),
          );
          expect(spent.monthlyCpuMs).toBeLessThanOrEqual(amount.monthlyCpuMs);
          expect(spent.monthlyMemoryMibSeconds).toBeLessThanOrEqual(amount.monthlyMemoryMibSeconds);
        },
      ),
    );
  });

  it('is one run, its resources, and its log as often as it may be tried', () => {
    expect(
      runAmount({ cpuMillis: 500, memoryBytes: 64 * 1024 ** 2, pids: 7, diskBytes: 9, logBytes: 100, attemptMs: 1500, maxAttempts: 3 }),
    ).toEqual({
      concurrentRuns: 1,
      cpuMillis: 500,
      memoryBytes: 64 * 1024 ** 2,
      diskBytes: 9,
      pids: 7,
      logBytes: 300,
      monthlyCpuMs: 2250,
      monthlyMemoryMibSeconds: 288,
    });
  });

  it('is counted by calendar months and minutes', () => {
    expect(budgetMonth(new Date('2027-01-01T00:00:00Z')) - budgetMonth(new Date('2026-12-31T23:59:59.999Z'))).toBe(1);
    expect(rateMinute(new Date(60_000)) - rateMinute(new Date(59_999))).toBe(1);
  });
});

describe('preemption', () => {
  const candidates = fc
    .array(fc.record({ priority: fc.nat(5), amount }), { maxLength: 12 })
    .map((list) => list.map((one, i): PreemptionCandidate => ({ runId: `run_${String(i).padStart(3, '0')}`, ...one })));

  it('takes runs of lower priority alone, enough of them, and none that is not needed', () => {
    fc.assert(
      fc.property(amount, amount, fc.nat(6), candidates, (free, needed, priority, list) => {
        const held = (victims: readonly PreemptionCandidate[]) =>
          victims.reduce((sum, { amount: a }) => addAmounts(sum, { ...a, logBytes: 0, monthlyCpuMs: 0, monthlyMemoryMibSeconds: 0 }), free);
        const fits = (victims: readonly PreemptionCandidate[]) => quotaDimensions.every((d) => needed[d] <= held(victims)[d]);
        const victims = chooseVictims(free, needed, priority, list);
        if (victims === null) {
          expect(fits(list.filter((one) => one.priority < priority))).toBe(false);
          return;
        }
        expect(fits(victims)).toBe(true);
        expect(victims.every((victim) => victim.priority < priority)).toBe(true);
        for (const victim of victims) expect(fits(victims.filter((one) => one !== victim))).toBe(false);
      }),
    );
  });

  it('takes the lowest priority first, and of it the youngest', () => {
    const one = runAmount({ cpuMillis: 100, memoryBytes: 0 });
    const list = [
      { runId: 'run_a', priority: 1, amount: one },
      { runId: 'run_b', priority: 0, amount: one },
      { runId: 'run_c', priority: 0, amount: one },
    ];
    expect(chooseVictims(noAmount, one, 2, list)?.map(({ runId }) => runId)).toEqual(['run_c']);
  });
});

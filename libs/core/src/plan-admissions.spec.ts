import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AdmissionDecision, planAdmissions, type Submission } from './plan-admissions.js';
import { addAmounts, amountOf, noAmount, type Quota, type QuotaAmount, quotaDimensions } from './quota.js';

const amount = (max: number) =>
  fc.array(fc.nat(max), { minLength: 8, maxLength: 8 }).map((n) => amountOf((d) => n[quotaDimensions.indexOf(d)] ?? 0));
const submission = fc.record<Submission>({ amount: amount(4), onQuota: fc.constantFrom('queue', 'reject', 'preempt') });
const submissions = fc.array(submission, { maxLength: 40 });
const standing = fc
  .record({ limit: amount(30), queuedRuns: fc.nat(10), submissionsPerMinute: fc.nat(40), waiting: fc.nat(2) })
  .map(({ limit, queuedRuns, submissionsPerMinute, waiting }) => ({
    quota: { ...limit, queuedRuns, submissionsPerMinute } as Quota,
    used: { ...noAmount, queuedRuns: Math.min(waiting, queuedRuns), submissionsPerMinute: 0 } as Quota,
  }));

/** What the tenant uses after the decisions. */
function after(used: Quota, asked: readonly Submission[], decisions: readonly AdmissionDecision[]): Quota {
  const reserved = asked.filter((_, i) => decisions[i]?.kind === 'reserve').map((one) => one.amount);
  const held = reserved.reduce<QuotaAmount>(addAmounts, used);
  const waiting = decisions.filter(({ kind }) => kind === 'wait').length;
  return {
    ...held,
    queuedRuns: used.queuedRuns + waiting,
    submissionsPerMinute: used.submissionsPerMinute + reserved.length + waiting,
  };
}

describe('submissions decided together', () => {
  it('never take more than there is, in any dimension', () => {
    fc.assert(
      fc.property(standing, submissions, ({ quota, used }, asked) => {
        const now = after(used, asked, planAdmissions(quota, used, asked));
        for (const [dimension, value] of Object.entries(now)) expect(value).toBeLessThanOrEqual(quota[dimension as keyof Quota]);
      }),
    );
  });

  it('come to the same as one after the other, however they are parted', () => {
    fc.assert(
      fc.property(standing, submissions, fc.nat(40), ({ quota, used }, asked, at) => {
        const together = planAdmissions(quota, used, asked);
        const first = planAdmissions(quota, used, asked.slice(0, at));
        const then = planAdmissions(quota, after(used, asked.slice(0, at), first), asked.slice(at));
        expect([...first, ...then]).toEqual(together);
      }),
    );
  });

  it('reserve nothing past a run that waits, and make none wait that fits with nobody before it', () => {
    fc.assert(
      fc.property(standing, submissions, ({ quota, used }, asked) => {
        const decisions = planAdmissions(quota, used, asked);
        const firstWait = used.queuedRuns > 0 ? -1 : decisions.findIndex(({ kind }) => kind === 'wait');
        for (const [i, decision] of decisions.entries()) {
          if (decision.kind === 'reserve') expect(firstWait < 0 ? used.queuedRuns : i - firstWait).toBeLessThanOrEqual(0);
          if (decision.kind === 'wait' && decision.shortage === null) expect(used.queuedRuns > 0 || firstWait < i).toBe(true);
        }
      }),
    );
  });

  it('refuse for good only what no waiting can mend', () => {
    fc.assert(
      fc.property(standing, submissions, ({ quota, used }, asked) => {
        for (const [i, decision] of planAdmissions(quota, used, asked).entries()) {
          const never = quotaDimensions.some((d) => (asked[i]?.amount[d] ?? 0) > quota[d]) || quota.submissionsPerMinute === 0;
          expect(decision.kind === 'refuse' && decision.code === 'quotaNeverFits').toBe(never);
        }
      }),
    );
  });
});

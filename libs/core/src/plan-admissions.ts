import { addAmounts, checkQuota, type LimitDimension, type Quota, type QuotaAmount, type Shortage } from './quota.js';

/*
 * What becomes of a tenant's submissions that are decided together. INVARIANTS: what is reserved never exceeds the quota; nobody passes a run that waits;
 * a refused submission takes nothing; deciding them together comes to the same as one after the other.
 */

export interface Submission {
  readonly amount: QuotaAmount;
  readonly onQuota: 'queue' | 'reject' | 'preempt';
}

/** `wait`: `shortage` is null where the run would fit and others wait before it. `refuse`: `shortage` is null where it is that of the first who waits. */
export type AdmissionDecision =
  | { readonly kind: 'reserve' }
  | { readonly kind: 'wait'; readonly shortage: Shortage | null }
  | { readonly kind: 'refuse'; readonly code: 'overQuota' | 'quotaNeverFits'; readonly shortage: Shortage<LimitDimension> | null };

/** Decides submissions in their order, for a tenant of which `used` is used of `quota`. */
export function planAdmissions(quota: Quota, used: Quota, submissions: readonly Submission[]): AdmissionDecision[] {
  let held: QuotaAmount = used;
  let { queuedRuns, submissionsPerMinute } = used;
  return submissions.map(({ amount, onQuota }): AdmissionDecision => {
    const decision = checkQuota(quota, held, amount);
    if (decision.kind === 'neverFits') return { kind: 'refuse', code: 'quotaNeverFits', shortage: decision };
    const rate = full('submissionsPerMinute', quota.submissionsPerMinute, submissionsPerMinute);
    if (rate !== null) return rate;
    const shortage = decision.kind === 'exceeds' ? decision : null;
    if (shortage === null && queuedRuns === 0) {
      held = addAmounts(held, amount);
      submissionsPerMinute++;
      return { kind: 'reserve' };
    }
    if (onQuota === 'reject') return { kind: 'refuse', code: 'overQuota', shortage };
    const line = full('queuedRuns', quota.queuedRuns, queuedRuns);
    if (line !== null) return line;
    queuedRuns++;
    submissionsPerMinute++;
    return { kind: 'wait', shortage };
  });
}

function full(dimension: LimitDimension, limit: number, used: number): AdmissionDecision | null {
  if (used + 1 <= limit) return null;
  // Zero forbids it for good, which waiting cannot mend.
  const code = limit === 0 && dimension === 'submissionsPerMinute' ? 'quotaNeverFits' : 'overQuota';
  return { kind: 'refuse', code, shortage: { dimension, limit, used, requested: 1 } };
}

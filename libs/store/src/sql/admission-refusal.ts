import { checkQuota, type LimitDimension, type QuotaAmount, type QuotaDimension, runAmount, type Shortage } from '@berth/core';
import type pg from 'pg';
import type { AdmitInput, AdmitOutcome } from '../ports.js';
import { each, readAmount, runColumns } from './quota-columns.js';

/** A tenant as a submission finds it; beside these, `quota_NAME` and `used_NAME` of each dimension. */
export interface Standing extends Readonly<Record<string, unknown>> {
  readonly tenant_name: string;
  readonly waiting_runs: number;
  readonly quota_queued_runs: number;
  readonly quota_submissions_per_minute: number;
  readonly submissions: number;
  readonly known_run_id: string | null;
  readonly known_body_hash: string | null;
}

/** Why a submission is refused as the tenant stands; null when it may be written. */
export async function refuse(pool: pg.Pool, input: AdmitInput, standing: Standing): Promise<AdmitOutcome | null> {
  const quota = readAmount(standing, 'quota');
  const used = readAmount(standing, 'used');
  const requested = runAmount({ ...input.request, maxAttempts: input.maxAttempts });
  const decision = checkQuota(quota, used, requested);
  if (decision.kind === 'neverFits') return refused('quotaNeverFits', decision);
  const rate = full('submissionsPerMinute', standing.quota_submissions_per_minute, standing.submissions);
  if (rate !== null) return rate;

  const waits = decision.kind === 'exceeds' || standing.waiting_runs > 0;
  if (!waits) return null;
  if (input.onQuota !== 'reject') return full('queuedRuns', standing.quota_queued_runs, standing.waiting_runs);
  if (decision.kind === 'exceeds') return refused('overQuota', decision);
  const dimension = await lineShortage(pool, input.tenantId, quota, used);
  return refused('overQuota', { dimension, limit: quota[dimension], used: used[dimension], requested: requested[dimension] });
}

function full(dimension: LimitDimension, limit: number, used: number): AdmitOutcome | null {
  if (used + 1 <= limit) return null;
  // Zero forbids it for good, which waiting cannot mend.
  const code = limit === 0 && dimension === 'submissionsPerMinute' ? 'quotaNeverFits' : 'overQuota';
  return refused(code, { dimension, limit, used, requested: 1 });
}

function refused(code: 'overQuota' | 'quotaNeverFits', shortage: Shortage<LimitDimension>): AdmitOutcome {
  const { dimension, limit, used, requested } = shortage;
  return { kind: 'refused', code, dimension, limit, used, requested };
}

/** What the first of those who wait is short of. */
async function lineShortage(pool: pg.Pool, tenantId: string, quota: QuotaAmount, used: QuotaAmount): Promise<QuotaDimension> {
  const result = await pool.query<Record<string, number>>(
    `SELECT 1 AS sum_concurrent_runs, ${each(', ', (c) => `${c.run} AS sum_${c.name}`, runColumns)}
     FROM runs WHERE tenant_id = $1 AND state = 'queued' AND NOT reserved ORDER BY priority DESC, id LIMIT 1`,
    [tenantId],
  );
  const head = result.rows[0];
  if (head === undefined) return 'concurrentRuns';
  const decision = checkQuota(quota, used, readAmount(head, 'sum'));
  return decision.kind === 'fits' ? 'concurrentRuns' : decision.dimension;
}

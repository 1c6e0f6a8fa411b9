import {
  type AdmissionDecision,
  budgetMonth,
  checkQuota,
  type Quota,
  type QuotaAmount,
  type QuotaDimension,
  rateMinute,
} from '@berth/core';
import type pg from 'pg';
import type { AdmitInput, AdmitOutcome } from '../ports.js';
import { each, readAmount, runColumns, submissionsNow, usedNow } from './quota-columns.js';

/* The looking half of admission: what submissions find. It writes nothing, so replays and refusals cost no write. */

/** A tenant as its submissions find it. */
export interface Standing {
  readonly tenantId: string;
  readonly tenantName: string;
  readonly quota: Quota;
  readonly used: Quota;
  /** Of the keys asked for, those that were used before. */
  readonly known: ReadonlyMap<string, { readonly runId: string; readonly bodyHash: string }>;
}

const standingStatement = `
  SELECT tenants.id, tenants.name, quota_queued_runs, waiting_runs, quota_submissions_per_minute, ${submissionsNow('$4::int')} AS submissions,
         ${each(', ', (c) => `quota_${c.name}, ${usedNow(c, '$3::int')} AS used_${c.name}`)},
         (SELECT jsonb_agg(jsonb_build_array(k.key, k.run_id, k.body_hash)) FROM jsonb_to_recordset($2) AS asked(tenant_id text, key text)
          JOIN idempotency_keys k ON k.tenant_id = asked.tenant_id AND k.key = asked.key WHERE asked.tenant_id = tenants.id) AS known
  FROM tenants WHERE id = ANY($1)`;

interface StandingRow extends Record<string, unknown> {
  id: string;
  name: string;
  quota_queued_runs: number;
  waiting_runs: number;
  quota_submissions_per_minute: number;
  submissions: number;
  known: [key: string, runId: string, bodyHash: string][] | null;
}

/** How the tenants of these submissions stand in the month and the minute of `now`; a tenant that is gone is absent. */
export async function readStandings(
  pool: pg.Pool,
  inputs: readonly Pick<AdmitInput, 'tenantId' | 'idempotency'>[],
  now: Date,
): Promise<Map<string, Standing>> {
  const keys = inputs.flatMap(({ tenantId, idempotency }) => (idempotency === null ? [] : [{ tenant_id: tenantId, key: idempotency.key }]));
  const { rows } = await pool.query<StandingRow>({
    name: 'admit-standings',
    text: standingStatement,
    values: [[...new Set(inputs.map(({ tenantId }) => tenantId))], JSON.stringify(keys), budgetMonth(now), rateMinute(now)],
  });
  return new Map(
    rows.map((row) => [
      row.id,
      {
        tenantId: row.id,
        tenantName: row.name,
        quota: { ...readAmount(row, 'quota'), queuedRuns: row.quota_queued_runs, submissionsPerMinute: row.quota_submissions_per_minute },
        used: { ...readAmount(row, 'used'), queuedRuns: row.waiting_runs, submissionsPerMinute: row.submissions },
        known: new Map(row.known?.map(([key, runId, bodyHash]) => [key, { runId, bodyHash }])),
      },
    ]),
  );
}

/** What the first of those who wait is short of. */
async function lineShortage(pool: pg.Pool, { tenantId, quota, used }: Standing): Promise<QuotaDimension> {
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

/** What a submission that was refused gets to hear. */
export async function refusedBy(
  pool: pg.Pool,
  standing: Standing,
  requested: QuotaAmount,
  { code, shortage }: Extract<AdmissionDecision, { kind: 'refuse' }>,
): Promise<Extract<AdmitOutcome, { kind: 'refused' }>> {
  if (shortage !== null) {
    const { dimension, limit, used } = shortage;
    return { kind: 'refused', code, dimension, limit, used, requested: shortage.requested };
  }
  const dimension = await lineShortage(pool, standing);
  const { [dimension]: limit } = standing.quota;
  return { kind: 'refused', code, dimension, limit, used: standing.used[dimension], requested: requested[dimension] };
}

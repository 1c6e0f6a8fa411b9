import type pg from 'pg';
import { admitWaiting, lockTenants } from './admit-waiting.js';
import { dimensionColumns, each } from './quota-columns.js';

/*
 * What a tenant gets back. INVARIANT: a run gives back exactly what it took, once: what it merely held, what is left of its share of the budgets,
 * and of its log bytes what it did not write; those it wrote it keeps until it is deleted.
 */

export interface EndedRun {
  readonly id: string;
  readonly tenantId: string;
  /** Whether it held a reservation before its end; else it waited. */
  readonly reserved: boolean;
}

/** Of the run's share: by what was reserved and for how long, never more than was set aside. As `runCost` of libs/core. */
export const costCpuMs = 'least(r.budget_cpu_ms, (r.cpu_millis::bigint * r.spent_ms + 999) / 1000)';
export const costMemoryMibSeconds = 'least(r.budget_memory_mib_seconds, ceil(r.memory_bytes::numeric * r.spent_ms / 1048576000)::bigint)';

const held = dimensionColumns.filter(({ monthly, dimension }) => !monthly && dimension !== 'logBytes');

// Runs of an older month than the latest here cannot be of the tenant's current one: of these the tenant's row holds nothing any more.
const settleStatement = `
  WITH ended AS (
    SELECT r.*, e.was_reserved, ${costCpuMs} AS cost_cpu_ms, ${costMemoryMibSeconds} AS cost_memory_mib_seconds,
           max(r.budget_month) OVER (PARTITION BY r.tenant_id) AS latest_month
    FROM jsonb_to_recordset($1) AS e(id text, was_reserved boolean) JOIN runs r ON r.id = e.id
  ), spent AS (
    INSERT INTO budgets (tenant_id, month, spent_cpu_ms, spent_memory_mib_seconds)
    SELECT tenant_id, budget_month, sum(cost_cpu_ms), sum(cost_memory_mib_seconds)
    FROM ended WHERE was_reserved AND cost_cpu_ms + cost_memory_mib_seconds > 0 GROUP BY tenant_id, budget_month ORDER BY tenant_id, budget_month
    ON CONFLICT (tenant_id, month) DO UPDATE SET
      spent_cpu_ms = budgets.spent_cpu_ms + excluded.spent_cpu_ms,
      spent_memory_mib_seconds = budgets.spent_memory_mib_seconds + excluded.spent_memory_mib_seconds
  )
  UPDATE tenants SET
    ${each(', ', (c) => `used_${c.name} = used_${c.name} - freed.${c.name}`, held)},
    used_log_bytes = used_log_bytes - freed.log_bytes,
    used_monthly_cpu_ms = used_monthly_cpu_ms - CASE WHEN freed.month = tenants.budget_month THEN freed.cpu_ms ELSE 0 END,
    used_monthly_memory_mib_seconds
      = used_monthly_memory_mib_seconds - CASE WHEN freed.month = tenants.budget_month THEN freed.memory_mib_seconds ELSE 0 END,
    waiting_runs = waiting_runs - freed.waiting
  FROM (SELECT tenant_id AS id, max(latest_month) AS month,
               ${each(', ', (c) => `coalesce(sum(${c.run}) FILTER (WHERE was_reserved), 0) AS ${c.name}`, held)},
               coalesce(sum(log_bytes - kept_log_bytes) FILTER (WHERE was_reserved), 0) AS log_bytes,
               coalesce(sum(budget_cpu_ms - cost_cpu_ms) FILTER (WHERE was_reserved AND budget_month = latest_month), 0) AS cpu_ms,
               coalesce(sum(budget_memory_mib_seconds - cost_memory_mib_seconds)
                 FILTER (WHERE was_reserved AND budget_month = latest_month), 0) AS memory_mib_seconds,
               count(*) FILTER (WHERE NOT was_reserved) AS waiting
        FROM ended GROUP BY tenant_id) AS freed
  WHERE tenants.id = freed.id
  RETURNING waiting_runs > 0 AS has_line`;

/** Settles the quota of runs whose ends are written, and admits the next of their tenants. Returns the ids of the runs admitted. */
export async function settle(client: pg.PoolClient, ended: readonly EndedRun[], now: Date): Promise<string[]> {
  if (ended.length === 0) return [];
  const tenantIds = [...new Set(ended.map((run) => run.tenantId))];
  if (tenantIds.length > 1) await lockTenants(client, tenantIds);
  const records = ended.map(({ id, reserved }) => ({ id, was_reserved: reserved }));
  const { rows } = await client.query<{ has_line: boolean }>({ name: 'settle', text: settleStatement, values: [JSON.stringify(records)] });
  return rows.some((row) => row.has_line) ? admitWaiting(client, tenantIds, now) : [];
}

/** Takes the reservations of queued runs back: they wait for quota again. Their tenant must be locked. */
export async function unreserve(
  client: pg.PoolClient,
  tenantId: string,
  runIds: readonly string[],
  reason: string,
  now: Date,
): Promise<void> {
  if (runIds.length === 0) return;
  await client.query(
    `WITH run AS (
       UPDATE runs SET reserved = false, waiting_for = 'quota', waiting_reason = $3, queued_at = $4
       WHERE id = ANY($2) AND state = 'queued' AND reserved
       RETURNING *
     ), event AS (
       INSERT INTO run_events (run_id, tenant_id, type, state, message, at) SELECT id, tenant_id, 'waiting', 'queued', $3, $4 FROM run ORDER BY id
     ), box AS (
       DELETE FROM outbox USING run WHERE outbox.run_id = run.id
     )
     UPDATE tenants SET
       ${each(', ', (c) => `used_${c.name} = used_${c.name} - freed.${c.name}`)}, waiting_runs = waiting_runs + freed.concurrent_runs
     FROM (SELECT ${each(
       ', ',
       (c) =>
         `coalesce(sum(${c.run})${c.monthly ? ' FILTER (WHERE budget_month = (SELECT budget_month FROM tenants WHERE id = $1))' : ''}, 0) AS ${c.name}`,
     )} FROM run) AS freed
     WHERE tenants.id = $1`,
    [tenantId, runIds, reason, now],
  );
}

import { budgetMonth } from '@berth/core';
import type pg from 'pg';
import { each, runColumns, usedNow } from './quota-columns.js';

/*
 * Admission of runs that wait for quota. Whoever frees quota calls it in the same transaction, so a free place and a run that fits it are never
 * both visible. Locks are taken in one order everywhere: runs by id, nodes by id, tenants by id. Waiting runs come after their tenant, against that
 * order, and are therefore never waited for: one that is locked is about to be cancelled.
 */

/** Locks the tenants' rows. A statement after this one sees what every earlier holder of the locks wrote. */
export async function lockTenants(client: pg.PoolClient, tenantIds: readonly string[]): Promise<void> {
  await client.query('SELECT FROM tenants WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE', [tenantIds]);
}

// How many of one tenant's runs one statement admits at most.
const batch = 200;

/**
 * The running sums are strict order: they grow along the line, so exactly a prefix of it fits. A run that exceeds the whole quota (lowered since)
 * is passed over, because no release can ever help it.
 */
const admitWaitingStatement = `
  WITH chosen AS (
    SELECT line.id, greatest(tenants.budget_month, $3::int) AS month
    FROM tenants CROSS JOIN LATERAL (
      SELECT first.id, count(*) OVER line AS concurrent_runs, ${each(', ', (c) => `sum(first.${c.run}) OVER line AS ${c.name}`, runColumns)}
      FROM (
        SELECT id, priority, ${each(', ', (c) => c.run, runColumns)} FROM runs
        WHERE tenant_id = tenants.id AND state = 'queued' AND NOT reserved
          AND ${each(' AND ', (c) => `${c.run} <= tenants.quota_${c.name}`, runColumns)}
        ORDER BY priority DESC, id
        LIMIT least(${batch}, greatest(0, tenants.quota_concurrent_runs - tenants.used_concurrent_runs))
        FOR NO KEY UPDATE SKIP LOCKED
      ) AS first
      WINDOW line AS (ORDER BY first.priority DESC, first.id ROWS UNBOUNDED PRECEDING)
    ) AS line
    WHERE tenants.id = ANY($1) AND tenants.waiting_runs > 0
      AND ${each(' AND ', (c) => `line.${c.name} <= tenants.quota_${c.name} - ${usedNow(c, '$3::int')}`)}
  ), admitted AS (
    UPDATE runs SET reserved = true, waiting_for = NULL, waiting_reason = NULL, queued_at = $2, budget_month = chosen.month
    FROM chosen WHERE runs.id = chosen.id
    RETURNING runs.id, runs.tenant_id, runs.attempt, ${each(', ', (c) => `runs.${c.run}`, runColumns)}
  ), counted AS (
    UPDATE tenants SET
      ${each(', ', (c) => `used_${c.name} = ${usedNow(c, '$3::int')} + sums.${c.name}`)},
      budget_month = greatest(budget_month, $3::int),
      waiting_runs = waiting_runs - sums.concurrent_runs
    FROM (SELECT tenant_id, ${each(', ', (c) => `sum(${c.run}) AS ${c.name}`)} FROM admitted GROUP BY tenant_id) AS sums
    WHERE tenants.id = sums.tenant_id
  ), event AS (
    INSERT INTO run_events (run_id, tenant_id, type, state, at) SELECT id, tenant_id, 'admitted', 'queued', $2 FROM admitted ORDER BY id
  ), box AS (
    INSERT INTO outbox (run_id, attempt) SELECT id, attempt + 1 FROM admitted ORDER BY id
  )
  SELECT id FROM admitted`;

/** Admits what fits now, highest priority and then oldest first; the tenants must be locked by `lockTenants` or an update. Returns the runs' ids. */
export async function admitWaiting(client: pg.PoolClient, tenantIds: readonly string[], now: Date): Promise<string[]> {
  const admitted: string[] = [];
  for (;;) {
    const { rows } = await client.query<{ id: string }>({
      name: 'admit-waiting',
      text: admitWaitingStatement,
      values: [tenantIds, now, budgetMonth(now)],
    });
    admitted.push(...rows.map((row) => row.id));
    if (rows.length < batch) return admitted;
  }
}

import type pg from 'pg';

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
    SELECT line.id
    FROM tenants t CROSS JOIN LATERAL (
      SELECT first.id,
             count(*) OVER line AS runs,
             sum(first.cpu_millis) OVER line AS cpu,
             sum(first.memory_bytes) OVER line AS memory
      FROM (
        SELECT id, priority, cpu_millis, memory_bytes FROM runs
        WHERE tenant_id = t.id AND state = 'queued' AND NOT reserved
          AND cpu_millis <= t.quota_cpu_millis AND memory_bytes <= t.quota_memory_bytes
        ORDER BY priority DESC, id
        LIMIT least(${batch}, greatest(0, t.quota_concurrent_runs - t.used_concurrent_runs))
        FOR NO KEY UPDATE SKIP LOCKED
      ) AS first
      WINDOW line AS (ORDER BY first.priority DESC, first.id ROWS UNBOUNDED PRECEDING)
    ) AS line
    WHERE t.id = ANY($1) AND t.waiting_runs > 0
      AND line.runs <= t.quota_concurrent_runs - t.used_concurrent_runs
      AND line.cpu <= t.quota_cpu_millis - t.used_cpu_millis
      AND line.memory <= t.quota_memory_bytes - t.used_memory_bytes
  ), admitted AS (
    UPDATE runs SET reserved = true, waiting_for = NULL, waiting_reason = NULL, queued_at = $2
    FROM chosen WHERE runs.id = chosen.id
    RETURNING runs.id, runs.tenant_id, runs.cpu_millis, runs.memory_bytes, runs.attempt
  ), counted AS (
    UPDATE tenants SET
      used_concurrent_runs = used_concurrent_runs + sums.runs,
      used_cpu_millis = used_cpu_millis + sums.cpu,
      used_memory_bytes = used_memory_bytes + sums.memory,
      waiting_runs = waiting_runs - sums.runs
    FROM (SELECT tenant_id, count(*) AS runs, sum(cpu_millis) AS cpu, sum(memory_bytes) AS memory FROM admitted GROUP BY tenant_id) AS sums
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
    const { rows } = await client.query<{ id: string }>({ name: 'admit-waiting', text: admitWaitingStatement, values: [tenantIds, now] });
    admitted.push(...rows.map((row) => row.id));
    if (rows.length < batch) return admitted;
  }
}

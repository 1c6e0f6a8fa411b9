import { newId } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { Forgotten, Retention } from '../ports.js';
import { admitWaiting, lockTenants } from './admit-waiting.js';
import { keepUsage } from './usage.js';

/*
 * What the policy forgets: ended runs with their events and logs, and idempotency keys. Batches are bounded, and leave out what another replica is at.
 */

// Materialized, since a join that looked again for each of its rows could choose others each time.
const forgetRunsStatement = `
  WITH old AS MATERIALIZED (
    SELECT ended.id FROM tenants t CROSS JOIN LATERAL (
      SELECT r.id FROM runs r
      WHERE r.tenant_id = t.id AND r.finished_at < $1::timestamptz - make_interval(secs => coalesce(t.retain_runs_ms, $2::bigint) / 1000.0)
      ORDER BY r.finished_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ) AS ended LIMIT $3
  ), gone AS (
    DELETE FROM runs USING old WHERE runs.id = old.id RETURNING runs.*
  ), ${keepUsage('gone')}
  SELECT tenant_id, kept_log_bytes FROM gone`;

const freeLogsStatement = `
  UPDATE tenants SET used_log_bytes = used_log_bytes - freed.bytes
  FROM jsonb_to_recordset($1) AS freed(id text, bytes bigint) WHERE tenants.id = freed.id
  RETURNING tenants.id, waiting_runs > 0 AS has_line`;

const forgetKeysStatement = `
  WITH old AS MATERIALIZED (
    SELECT tenant_id, key FROM idempotency_keys WHERE run_id < $1 ORDER BY run_id LIMIT $2 FOR UPDATE SKIP LOCKED
  )
  DELETE FROM idempotency_keys k USING old WHERE k.tenant_id = old.tenant_id AND k.key = old.key`;

/** See `RunStore.forgetOld`. */
export async function forgetOld(pool: pg.Pool, retention: Retention, limit: number, now: Date): Promise<Forgotten> {
  // Ids sort by age: a key is as old as the run that it stands for.
  const youngest = newId('run', Math.max(0, now.getTime() - retention.keysMs), new Uint8Array(10));
  const keys = await pool.query(forgetKeysStatement, [youngest, limit]);
  return retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      const { rows } = await client.query<{ tenant_id: string; kept_log_bytes: number }>(forgetRunsStatement, [
        now,
        retention.runsMs,
        limit,
      ]);
      const admitted = await freeLogs(client, rows, now);
      return { runs: rows.length, keys: keys.rowCount ?? 0, admitted };
    }),
  );
}

async function freeLogs(
  client: pg.PoolClient,
  forgotten: readonly { tenant_id: string; kept_log_bytes: number }[],
  now: Date,
): Promise<string[]> {
  const bytes = new Map<string, number>();
  for (const run of forgotten) if (run.kept_log_bytes > 0) bytes.set(run.tenant_id, (bytes.get(run.tenant_id) ?? 0) + run.kept_log_bytes);
  if (bytes.size === 0) return [];
  await lockTenants(client, [...bytes.keys()]);
  const freed = await client.query<{ id: string; has_line: boolean }>(freeLogsStatement, [
    JSON.stringify([...bytes].map(([id, sum]) => ({ id, bytes: sum }))),
  ]);
  const waiting = freed.rows.filter((tenant) => tenant.has_line).map(({ id }) => id);
  return waiting.length === 0 ? [] : admitWaiting(client, waiting, now);
}

import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { Actor } from '../ports.js';
import { admitWaiting } from './admit-waiting.js';
import { writeAudit } from './audit.js';
import { keepUsage } from './usage.js';

/** Forgets a terminal run of the tenant; the ids of the runs that the log bytes it kept admit, or null when there is no such run. */
export function deleteRun(pool: pg.Pool, tenantId: string, runId: string, now: Date, by: Actor): Promise<string[] | null> {
  return retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      const deleted = await client.query<{ kept_log_bytes: number }>(
        `WITH gone AS (
           DELETE FROM runs WHERE id = $1 AND tenant_id = $2 AND state IN ('succeeded', 'failed', 'canceled') RETURNING *
         ), ${keepUsage('gone')}
         SELECT kept_log_bytes FROM gone`,
        [runId, tenantId],
      );
      const [run] = deleted.rows;
      if (run === undefined) return null;
      await writeAudit(client, by, { action: 'run.delete', tenantId, target: runId });
      if (run.kept_log_bytes === 0) return [];
      const freed = await client.query<{ has_line: boolean }>(
        'UPDATE tenants SET used_log_bytes = used_log_bytes - $2 WHERE id = $1 RETURNING waiting_runs > 0 AS has_line',
        [tenantId, run.kept_log_bytes],
      );
      return freed.rows[0]?.has_line === true ? admitWaiting(client, [tenantId], now) : [];
    }),
  );
}

import type pg from 'pg';
import type { RunStore } from '../ports.js';

const ended = `state IN ('succeeded', 'failed', 'canceled')`;

export async function activeImages(pool: pg.Pool, tenantId: string): Promise<Map<string, number>> {
  const { rows } = await pool.query<{ digest: string; runs: string }>(
    `SELECT digest, count(*) AS runs FROM runs WHERE tenant_id = $1 AND NOT ${ended} GROUP BY digest`,
    [tenantId],
  );
  return new Map(rows.map(({ digest, runs }) => [digest, Number(runs)]));
}

export async function totals(pool: pg.Pool, tenantId: string): ReturnType<RunStore['totals']> {
  const { rows } = await pool.query<Record<'on_nodes' | 'runs' | 'ended' | 'log_bytes', string>>(
    `SELECT count(node_id) FILTER (WHERE NOT ${ended}) AS on_nodes, count(*) AS runs, count(*) FILTER (WHERE ${ended}) AS ended,
       coalesce(sum(kept_log_bytes) FILTER (WHERE ${ended}), 0) AS log_bytes
     FROM runs WHERE tenant_id = $1`,
    [tenantId],
  );
  const [row] = rows;
  return {
    onNodes: Number(row?.on_nodes ?? 0),
    runs: Number(row?.runs ?? 0),
    ended: Number(row?.ended ?? 0),
    endedLogBytes: Number(row?.log_bytes ?? 0),
  };
}

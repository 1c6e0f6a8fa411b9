import type { FleetNode } from '@berth/core';
import type pg from 'pg';
import type { RunStore } from '../ports.js';

/** See `RunStore.standings`. */
export async function standings(pool: pg.Pool): ReturnType<RunStore['standings']> {
  const [nodes, tenants] = await Promise.all([
    pool.query<{ id: string; state: FleetNode['state']; cpu: number; memory: number; features: string[] }>(
      'SELECT id, state, cpu_millis AS cpu, memory_bytes AS memory, features FROM nodes',
    ),
    pool.query<{ id: string; weight: number; cpu: number; memory: number; awaiting: number; oldest: Date | null }>(
      `SELECT t.id, t.weight, sums.cpu, sums.memory, sums.awaiting, sums.oldest
       FROM tenants t JOIN (
         SELECT tenant_id,
                coalesce(sum(cpu_millis) FILTER (WHERE node_id IS NOT NULL), 0)::bigint AS cpu,
                coalesce(sum(memory_bytes) FILTER (WHERE node_id IS NOT NULL), 0)::bigint AS memory,
                count(*) FILTER (WHERE node_id IS NULL) AS awaiting,
                min(queued_at) FILTER (WHERE node_id IS NULL) AS oldest
         FROM runs WHERE node_id IS NOT NULL OR (state = 'queued' AND reserved)
         GROUP BY tenant_id
       ) AS sums ON sums.tenant_id = t.id
       ORDER BY t.id`,
    ),
  ]);
  const reserved = { cpuMillis: 0, memoryBytes: 0, runs: 0 };
  return {
    fleet: { nodes: nodes.rows.map(({ cpu, memory, ...node }) => ({ ...node, cpuMillis: cpu, memoryBytes: memory, reserved })) },
    tenants: tenants.rows.map((row) => ({
      tenantId: row.id,
      weight: row.weight,
      held: { cpuMillis: row.cpu, memoryBytes: row.memory },
      awaiting: row.awaiting,
      oldestQueuedAt: row.oldest,
    })),
  };
}

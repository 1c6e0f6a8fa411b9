import type pg from 'pg';
import type { AssignmentRow, HeldLeaseRow } from '../ports.js';

/* What nodes should hold, as small as each question allows: who is told what a run is needs its spec, who compares leases does not. */

interface StoredAssignment {
  id: string;
  node_id: string;
  attempt: number;
  epoch: number;
  stop: boolean;
  tenant_id: string;
  tenant_name: string;
  image: string;
  digest: string;
  spec: unknown;
  created_at: Date;
}

/** See `RunStore.assignments`: one statement for any number of nodes. */
export async function assignments(
  pool: pg.Pool,
  wanted: readonly { readonly nodeId: string; readonly runIds: readonly string[] }[],
): Promise<AssignmentRow[]> {
  const pairs = wanted.flatMap(({ nodeId, runIds }) => runIds.map((runId) => [nodeId, runId] as const));
  if (pairs.length === 0) return [];
  const { rows } = await pool.query<StoredAssignment>({
    name: 'assignments',
    text: `SELECT r.id, r.node_id, r.attempt, r.epoch, r.cancel_requested AS stop, r.tenant_id, t.name AS tenant_name, r.image, r.digest, r.spec, r.created_at
           FROM unnest($1::text[], $2::text[]) AS w(node_id, id) JOIN runs r ON r.id = w.id AND r.node_id = w.node_id
           JOIN tenants t ON t.id = r.tenant_id
           ORDER BY r.id`,
    values: [pairs.map(([nodeId]) => nodeId), pairs.map(([, runId]) => runId)],
  });
  return rows.map((row) => ({
    nodeId: row.node_id,
    lease: { runId: row.id, attempt: row.attempt, epoch: row.epoch },
    stop: row.stop,
    run: {
      id: row.id,
      tenantId: row.tenant_id,
      tenantName: row.tenant_name,
      image: row.image,
      digest: row.digest,
      spec: row.spec,
      createdAt: row.created_at,
    },
  }));
}

/** See `RunStore.leases`. */
export async function leases(pool: pg.Pool, nodeId: string): Promise<HeldLeaseRow[]> {
  const { rows } = await pool.query<{ id: string; attempt: number; epoch: number; stop: boolean }>({
    name: 'leases',
    text: 'SELECT id, attempt, epoch, cancel_requested AS stop FROM runs WHERE node_id = $1 ORDER BY id',
    values: [nodeId],
  });
  return rows.map(({ id, attempt, epoch, stop }) => ({ lease: { runId: id, attempt, epoch }, stop }));
}

import type { Fleet, FleetNode, Placement, TenantStanding } from '@berth/core';
import type pg from 'pg';
import { retryOnDeadlock } from '../pool.js';
import type { LeaseRow } from '../ports.js';

export interface RunAwaitingNode {
  runId: string;
  tenantId: string;
  cpuMillis: number;
  memoryBytes: number;
  diskBytes: number;
  priority: number;
  createdAt: Date;
  /** Since when it awaits a node. */
  queuedAt: Date;
  /** Whether the roomiest node had room for it. */
  fits: boolean;
  digest: string;
  attempt: number;
  needs: string[];
}

/** Whether a node has all that a run needs beyond the ordinary, and room for it; most runs need nothing. */
const isOffered = (run: string): string => `(${run}.needs = '{}' OR EXISTS (
        SELECT FROM nodes n WHERE n.state = 'ready' AND n.features @> ${run}.needs
          AND n.cpu_millis - n.reserved_cpu_millis >= ${run}.cpu_millis AND n.memory_bytes - n.reserved_memory_bytes >= ${run}.memory_bytes
          AND (${run}.disk_bytes = 0 OR n.disk_bytes - n.reserved_disk_bytes >= ${run}.disk_bytes)))`;

const awaits = `state = 'queued' AND reserved`;
const fits = (run: string): string => `(${run}.cpu_millis <= room.cpu AND ${run}.memory_bytes <= room.memory
        AND ${run}.disk_bytes <= greatest(room.disk, 0) AND ${isOffered(run)})`;

/*
 * One statement, hence one snapshot. Of each tenant with work: the first of its runs for which the roomiest node has room, half as many
 * again as its weight could get of the batch, and the very first, which may
 * wait for more room than there is. The tenants are found by hopping along the index of waiting runs, whose whole
 * order is asked for so that no other index will do: neither idle tenants, nor long lines, nor runs that ended cost anything. Last, some that nobody has told yet why they wait.
 */
const viewStatement = `
  WITH RECURSIVE room AS (
    SELECT coalesce(max(cpu_millis - reserved_cpu_millis), -1) AS cpu, coalesce(max(memory_bytes - reserved_memory_bytes), -1) AS memory,
           coalesce(max(disk_bytes - reserved_disk_bytes), -1) AS disk
    FROM nodes WHERE state = 'ready'
  ), busy AS (
    (SELECT tenant_id FROM runs WHERE ${awaits} ORDER BY tenant_id, priority DESC, id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.tenant_id FROM runs r WHERE r.state = 'queued' AND r.reserved AND r.tenant_id > busy.tenant_id
            ORDER BY r.tenant_id, r.priority DESC, r.id LIMIT 1)
    FROM busy WHERE busy.tenant_id IS NOT NULL
  ), tenancy AS (
    SELECT t.id, t.weight, greatest(1, ceil(1.5 * $1::int * t.weight / sum(t.weight) OVER ()))::int AS part
    FROM busy JOIN tenants t ON t.id = busy.tenant_id
  ), heads AS (
    SELECT r.*, ${fits('r')} AS fits FROM room CROSS JOIN tenancy t
    CROSS JOIN LATERAL (SELECT * FROM runs WHERE tenant_id = t.id AND ${awaits} ORDER BY priority DESC, id LIMIT 1) AS r
  ), fitting AS (
    SELECT r.* FROM room CROSS JOIN tenancy t
    CROSS JOIN LATERAL (
      SELECT * FROM runs WHERE tenant_id = t.id AND ${awaits} AND ${fits('runs')} ORDER BY priority DESC, id LIMIT t.part
    ) AS r
  ), untold AS (
    SELECT r.* FROM room CROSS JOIN (SELECT * FROM runs WHERE ${awaits} AND waiting_reason IS NULL ORDER BY id LIMIT 2 * $1::int) AS r
    WHERE NOT ${fits('r')} AND r.id NOT IN (SELECT id FROM heads)
  ), awaiting AS (
    SELECT *, true AS fits FROM fitting
    UNION ALL SELECT * FROM heads WHERE NOT fits
    UNION ALL SELECT *, false FROM untold
  )
  SELECT
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'id', id, 'state', state, 'cpuMillis', cpu_millis, 'memoryBytes', memory_bytes, 'diskBytes', disk_bytes,
        'reserved', jsonb_build_object('cpuMillis', reserved_cpu_millis, 'memoryBytes', reserved_memory_bytes, 'diskBytes', reserved_disk_bytes,
                                       'runs', reserved_runs),
        'features', features
      ) ORDER BY id), '[]') FROM nodes WHERE state <> 'dead') AS nodes,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('tenantId', t.id, 'weight', t.weight, 'part', t.part, 'held',
        jsonb_build_object('cpuMillis', coalesce(held.cpu, 0), 'memoryBytes', coalesce(held.memory, 0)))), '[]')
     FROM tenancy t
     CROSS JOIN LATERAL (SELECT sum(cpu_millis) AS cpu, sum(memory_bytes) AS memory FROM runs WHERE tenant_id = t.id AND node_id IS NOT NULL) AS held
    ) AS tenants,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'runId', id, 'tenantId', tenant_id, 'cpuMillis', cpu_millis, 'memoryBytes', memory_bytes, 'diskBytes', disk_bytes, 'priority', priority,
        'createdAt', created_at, 'queuedAt', queued_at, 'digest', digest, 'attempt', attempt + 1, 'needs', needs, 'fits', fits
      ) ORDER BY fits DESC, priority DESC, id), '[]')
     FROM awaiting) AS runs`;

export interface PlacementView {
  fleet: Fleet;
  /** Those with runs that await a node, and what they hold. */
  tenants: TenantStanding[];
  runs: RunAwaitingNode[];
  /** Some tenant has more runs that fit than the view shows. */
  isPartial: boolean;
}

/** See `RunStore.placementView`. */
export async function placementView(pool: pg.Pool, limit: number): Promise<PlacementView> {
  type Stored = Omit<RunAwaitingNode, 'createdAt' | 'queuedAt'> & { createdAt: string; queuedAt: string };
  type Row = { nodes: FleetNode[]; tenants: (TenantStanding & { part: number })[]; runs: Stored[] };
  const { rows } = await pool.query<Row>({ name: 'placement-view', text: viewStatement, values: [limit] });
  const view = rows[0] ?? { nodes: [], tenants: [], runs: [] };
  const shown = new Map<string, number>();
  for (const run of view.runs) if (run.fits) shown.set(run.tenantId, (shown.get(run.tenantId) ?? 0) + 1);
  return {
    fleet: { nodes: view.nodes },
    tenants: view.tenants,
    runs: view.runs.map((run) => ({ ...run, createdAt: new Date(run.createdAt), queuedAt: new Date(run.queuedAt) })),
    isPartial: view.tenants.some(({ tenantId, part }) => (shown.get(tenantId) ?? 0) >= part),
  };
}

/*
 * One statement. Runs that another replica is placing at this moment are left to it. The rooms are read as they are under lock, and of what is placed
 * on a node it takes, in order, as much as there is room for.
 */
const placeStatement = `
  WITH placement AS (
    SELECT * FROM ROWS FROM (jsonb_to_recordset($1) AS ("runId" text, "nodeId" text)) WITH ORDINALITY AS p(run_id, node_id, place)
  ), chosen AS (
    SELECT r.id, r.cpu_millis, r.memory_bytes, r.disk_bytes FROM runs r
    WHERE r.id IN (SELECT run_id FROM placement) AND r.state = 'queued' AND r.reserved AND r.attempt < r.max_attempts
    ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED
  ), room AS (
    SELECT id, cpu_millis - reserved_cpu_millis AS cpu, memory_bytes - reserved_memory_bytes AS memory, disk_bytes - reserved_disk_bytes AS disk
    FROM nodes WHERE state = 'ready' AND id IN (SELECT p.node_id FROM placement p JOIN chosen ON chosen.id = p.run_id)
    ORDER BY id FOR NO KEY UPDATE
  ), fitting AS (
    SELECT line.id, line.node_id, line.cpu_millis, line.memory_bytes, line.disk_bytes
    FROM (
      SELECT chosen.*, p.node_id, sum(cpu_millis) OVER line AS cpu, sum(memory_bytes) OVER line AS memory, sum(disk_bytes) OVER line AS disk
      FROM placement p JOIN chosen ON chosen.id = p.run_id
      WINDOW line AS (PARTITION BY p.node_id ORDER BY p.place)
    ) AS line JOIN room ON room.id = line.node_id
    WHERE line.cpu <= room.cpu AND line.memory <= room.memory AND (line.disk = 0 OR line.disk <= room.disk)
  ), node AS (
    UPDATE nodes SET
      reserved_cpu_millis = reserved_cpu_millis + taken.cpu,
      reserved_memory_bytes = reserved_memory_bytes + taken.memory,
      reserved_disk_bytes = reserved_disk_bytes + taken.disk,
      reserved_runs = reserved_runs + taken.runs
    FROM (
      SELECT node_id, count(*) AS runs, sum(cpu_millis) AS cpu, sum(memory_bytes) AS memory, sum(disk_bytes) AS disk FROM fitting GROUP BY node_id
    ) AS taken
    WHERE nodes.id = taken.node_id
  ), run AS (
    UPDATE runs SET state = 'placed', node_id = fitting.node_id, epoch = epoch + 1, attempt = attempt + 1, waiting_for = NULL, waiting_reason = NULL
    FROM fitting WHERE runs.id = fitting.id
    RETURNING runs.id, runs.tenant_id, runs.node_id, runs.epoch, runs.attempt
  ), attempt AS (
    INSERT INTO attempts (run_id, number, epoch, node_id, placed_at) SELECT id, attempt, epoch, node_id, $2 FROM run
  ), event AS (
    INSERT INTO run_events (run_id, tenant_id, type, state, attempt, at) SELECT id, tenant_id, 'placed', 'placed', attempt, $2 FROM run ORDER BY id
  ), box AS (
    DELETE FROM outbox USING run WHERE outbox.run_id = run.id
  )
  SELECT id, node_id, epoch, attempt FROM run ORDER BY id`;

const waitStatement = `
  WITH reason AS (
    SELECT r.id, u.reason
    FROM jsonb_to_recordset($1) AS u("runId" text, reason text) JOIN runs r ON r.id = u."runId"
    WHERE r.state = 'queued' AND r.reserved AND r.waiting_reason IS DISTINCT FROM u.reason
    FOR NO KEY UPDATE OF r SKIP LOCKED
  ), run AS (
    UPDATE runs SET waiting_for = 'capacity', waiting_reason = reason.reason FROM reason WHERE runs.id = reason.id
    RETURNING runs.id, runs.tenant_id, runs.waiting_reason
  )
  INSERT INTO run_events (run_id, tenant_id, type, state, message, at)
  SELECT id, tenant_id, 'waiting', 'queued', waiting_reason, $2 FROM run ORDER BY id`;

/** See `RunStore.commitPlacements`. */
export async function commitPlacements(
  pool: pg.Pool,
  placements: readonly Placement[],
  unplaced: readonly { runId: string; reason: string }[],
  now: Date,
): Promise<{ nodeId: string; lease: LeaseRow }[]> {
  const [placed] = await Promise.all([
    placements.length === 0 ? [] : retryOnDeadlock(() => commit(pool, placements, now)),
    unplaced.length === 0
      ? undefined
      : retryOnDeadlock(() => pool.query({ name: 'record-reasons', text: waitStatement, values: [JSON.stringify(unplaced), now] })),
  ]);
  return placed;
}

async function commit(pool: pg.Pool, placements: readonly Placement[], now: Date): Promise<{ nodeId: string; lease: LeaseRow }[]> {
  const { rows } = await pool.query<{ id: string; node_id: string; epoch: number; attempt: number }>({
    name: 'commit-placements',
    text: placeStatement,
    values: [JSON.stringify(placements.map(({ runId, nodeId }) => ({ runId, nodeId }))), now],
  });
  return rows.map((row) => ({ nodeId: row.node_id, lease: { runId: row.id, attempt: row.attempt, epoch: row.epoch } }));
}

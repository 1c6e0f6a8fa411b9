import { transition } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import { lockRuns, RunChange, writeChanges } from './run-changes.js';

const batch = 200;

/*
 * `onNodeLost: "retry"` on a node that was silent since before T_lost: its containers have stopped by themselves by then. On a node that an operator
 * declared dead every run ends or is retried; "wait" never risks a second attempt, so it ends.
 */
const chosen = `
  r.id IN (
    SELECT r2.id FROM runs r2 JOIN nodes n ON n.id = r2.node_id
    WHERE n.state = 'dead' OR (n.state = 'lost' AND n.last_heartbeat_at < $1 AND r2.on_node_lost = 'retry')
    ORDER BY r2.id LIMIT ${batch})
  ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED`;

/** See `RunStore.releaseLost`. */
export async function releaseLost(pool: pg.Pool, lostBefore: Date, now: Date): Promise<{ changed: string[]; admitted: string[] }> {
  const changed: string[] = [];
  const admitted: string[] = [];
  for (;;) {
    const round = await retryOnDeadlock(() => inTransaction(pool, (client) => releaseBatch(client, lostBefore, now)));
    changed.push(...round.changed);
    admitted.push(...round.admitted);
    if (round.changed.length < batch) return { changed, admitted };
  }
}

async function releaseBatch(client: pg.PoolClient, lostBefore: Date, now: Date): Promise<{ changed: string[]; admitted: string[] }> {
  const runs = await lockRuns(client, chosen, [lostBefore]);
  if (runs.length === 0) return { changed: [], admitted: [] };
  // Read again under lock: a node that came back in the meantime keeps its runs.
  const nodes = await client.query<{ id: string; state: string; last_heartbeat_at: Date | null }>(
    `SELECT id, state, last_heartbeat_at FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE`,
    [[...new Set(runs.map((run) => run.nodeId))]],
  );
  const lost = new Map(
    nodes.rows
      .filter(
        (node) =>
          node.state === 'dead' || (node.state === 'lost' && node.last_heartbeat_at !== null && node.last_heartbeat_at < lostBefore),
      )
      .map((node) => [node.id, node.state]),
  );
  const policies = await client.query<{ id: string; on_node_lost: string }>('SELECT id, on_node_lost FROM runs WHERE id = ANY($1)', [
    runs.map((run) => run.id),
  ]);
  const replaceable = new Set(policies.rows.filter((row) => row.on_node_lost === 'retry').map((row) => row.id));

  const changes: RunChange[] = [];
  for (const run of runs) {
    const nodeState = run.nodeId === null ? undefined : lost.get(run.nodeId);
    if (nodeState === undefined || (nodeState === 'lost' && !replaceable.has(run.id))) continue;
    const change = new RunChange(run);
    change.note(transition(change.standing, { kind: 'lost', replace: replaceable.has(run.id) }), now);
    change.abandoned = true;
    changes.push(change);
  }
  const admitted = await writeChanges(client, changes, now);
  return { changed: changes.map((change) => change.before.id), admitted };
}

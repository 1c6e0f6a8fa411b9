import { transition } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import { type LockedRun, lockRuns, RunChange, writeChanges } from './run-changes.js';

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
  const gone = await lockGoneNodes(client, runs, lostBefore);
  const changes: RunChange[] = [];
  for (const run of runs) {
    const node = run.nodeId === null ? undefined : gone.get(run.nodeId);
    const replace = run.onNodeLost === 'retry';
    if (node === undefined || (node === 'lost' && !replace)) continue;
    const change = new RunChange(run);
    change.note(transition(change.standing, { kind: 'lost', replace }), now);
    change.abandoned = true;
    changes.push(change);
  }
  const admitted = await writeChanges(client, changes, now);
  return { changed: changes.map((change) => change.before.id), admitted };
}

/** Reads the nodes again under lock: one that was heard from in the meantime keeps its runs. */
async function lockGoneNodes(client: pg.PoolClient, runs: readonly LockedRun[], lostBefore: Date): Promise<Map<string, 'lost' | 'dead'>> {
  const { rows } = await client.query<{ id: string; state: 'lost' | 'dead' }>(
    `SELECT id, state FROM (SELECT * FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE) AS locked
     WHERE state = 'dead' OR (state = 'lost' AND last_heartbeat_at < $2)`,
    [[...new Set(runs.map((run) => run.nodeId))], lostBefore],
  );
  return new Map(rows.map((node) => [node.id, node.state]));
}

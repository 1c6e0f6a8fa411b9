import {
  amountOf,
  budgetMonth,
  chooseVictims,
  madeWayFor,
  noAmount,
  type PreemptionCandidate,
  quotaDimensions,
  transition,
} from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { LeaseRow } from '../ports.js';
import { admitWaiting, lockTenants } from './admit-waiting.js';
import { each, readAmount, runColumns, usedNow } from './quota-columns.js';
import { lockRuns, RunChange, writeChanges } from './run-changes.js';
import { unreserve } from './settle.js';

/*
 * Making way for a run of higher priority. Runs that await a node give their reservation back at once and wait for it anew; runs on a node are
 * stopped, and what they hold comes free when their end is reported. Meanwhile the run waits in the line, which its priority puts it ahead in.
 */

export interface Preemption {
  admitted: string[];
  /** Leases that their nodes are to stop. */
  stops: { nodeId: string; lease: LeaseRow }[];
  /** Runs that were taken from, or asked to stop. */
  changed: string[];
}

/** Makes way for a waiting run among the runs of its own tenant. Takes nothing when even all that may be taken would not be enough. */
export function preempt(pool: pg.Pool, tenantId: string, runId: string, now: Date): Promise<Preemption> {
  return retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      const runs = await lockRuns(
        client,
        `r.tenant_id = $1 AND r.reserved AND r.priority < (SELECT priority FROM runs WHERE id = $2) ORDER BY r.id FOR NO KEY UPDATE`,
        [tenantId, runId],
      );
      await lockTenants(client, [tenantId]);
      const victims = await choose(client, tenantId, runId, now);
      const reason = madeWayFor(runId);
      const queued = runs.filter((run) => victims.has(run.id) && run.state === 'queued');
      await unreserve(
        client,
        tenantId,
        queued.map((run) => run.id),
        reason,
        now,
      );
      const changes = runs.filter((run) => victims.has(run.id) && run.state !== 'queued').map((run) => new RunChange(run));
      for (const change of changes) {
        change.preemptedFor = runId;
        change.note(transition(change.standing, { kind: 'cancel' }), now, reason);
      }
      await writeChanges(client, changes, now);
      const stops = changes.flatMap(({ before }) =>
        before.nodeId === null
          ? []
          : [{ nodeId: before.nodeId, lease: { runId: before.id, attempt: before.attempt, epoch: before.epoch } }],
      );
      return { admitted: await admitWaiting(client, [tenantId], now), stops, changed: [...victims] };
    }),
  );
}

interface LineRow extends Record<string, unknown> {
  id: string;
  priority: number;
  reserved: boolean;
  cancel_requested: boolean;
}

/** The ids of the runs to take from, for the run and for those who stand before it in the line. */
async function choose(client: pg.PoolClient, tenantId: string, runId: string, now: Date): Promise<Set<string>> {
  const standing = await client.query<Record<string, unknown>>(
    `SELECT ${each(', ', (c) => `quota_${c.name}, ${usedNow(c, '$2::int')} AS used_${c.name}`)} FROM tenants WHERE id = $1`,
    [tenantId, budgetMonth(now)],
  );
  const { rows } = await client.query<LineRow>(
    `WITH mine AS (SELECT id, priority, state, reserved FROM runs WHERE id = $2)
     SELECT r.id, r.priority, r.reserved, r.cancel_requested, 1 AS sum_concurrent_runs,
            ${each(', ', (c) => `r.${c.run} AS sum_${c.name}`, runColumns)}
     FROM runs r, mine
     WHERE r.tenant_id = $1 AND mine.state = 'queued' AND NOT mine.reserved
       AND ((r.reserved AND (r.priority < mine.priority OR r.cancel_requested))
         OR (r.state = 'queued' AND NOT r.reserved AND (r.priority > mine.priority OR (r.priority = mine.priority AND r.id <= mine.id))))`,
    [tenantId, runId],
  );
  const tenant = standing.rows[0];
  if (tenant === undefined || rows.length === 0) return new Set();
  const amounts = rows.map((row) => ({ ...row, amount: readAmount(row, 'sum') }));
  const sum = (of: typeof amounts) => of.reduce((total, { amount }) => amountOf((d) => total[d] + amount[d]), noAmount);
  const needed = sum(amounts.filter((row) => !row.reserved));
  const leaving = sum(amounts.filter((row) => row.reserved && row.cancel_requested));
  const [quota, used] = [readAmount(tenant, 'quota'), readAmount(tenant, 'used')];
  const free = amountOf((d) => quota[d] - used[d] + (isHeld(d) ? leaving[d] : 0));
  const priority = rows.find((row) => row.id === runId)?.priority ?? 0;
  const candidates = amounts
    .filter((row) => row.reserved && !row.cancel_requested)
    .map((row): PreemptionCandidate => ({ runId: row.id, priority: row.priority, amount: row.amount }));
  return new Set((chooseVictims(free, needed, priority, candidates) ?? []).map((victim) => victim.runId));
}

/** Whether a run that stops gives the dimension back. */
function isHeld(dimension: (typeof quotaDimensions)[number]): boolean {
  return dimension !== 'logBytes' && !dimension.startsWith('monthly');
}

import { isTerminal, transition } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { Actor, LeaseRow } from '../ports.js';
import { writeAudit } from './audit.js';
import { lockRuns, RunChange, writeChanges } from './run-changes.js';

/** See `RunStore.cancel`; null when the tenant has no such run. A repeated cancel names the lease again, in case the first word was lost. */
export function cancel(
  pool: pg.Pool,
  tenantId: string,
  runId: string,
  now: Date,
  by: Actor,
): Promise<{ stop: { nodeId: string; lease: LeaseRow } | null; admitted: string[] } | null> {
  return retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      const [run] = await lockRuns(client, 'r.id = $1 AND r.tenant_id = $2 FOR NO KEY UPDATE', [runId, tenantId]);
      if (run === undefined) return null;
      const change = new RunChange(run);
      const isNews = !isTerminal(change.state) && !run.cancelRequested;
      change.note(transition(change.standing, { kind: 'cancel' }), now);
      const admitted = await writeChanges(client, [change], now);
      if (isNews) await writeAudit(client, by, { action: 'run.cancel', tenantId, target: runId });
      const isOnNode = run.nodeId !== null && !isTerminal(change.state);
      const stop = isOnNode ? { nodeId: run.nodeId, lease: { runId, attempt: run.attempt, epoch: run.epoch } } : null;
      return { stop, admitted };
    }),
  );
}

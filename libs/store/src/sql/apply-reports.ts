import { type RunFact, transition } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { AttemptReport, LeaseRow } from '../ports.js';
import { type LockedRun, lockRuns, RunChange, writeChanges } from './run-changes.js';

/*
 * A node's reports, applied together. A report counts only if its node, attempt and epoch are the run's current ones (I3). One about an attempt that
 * the same node has ended is a repetition and is acknowledged as such; one about an attempt that was given up is stale, and so is everything else.
 */

interface AppliedReports {
  outcomes: { id: string; outcome: 'applied' | 'stale' }[];
  changed: string[];
  admitted: string[];
  /** Leases that the node still acts on and must let go. */
  stop: LeaseRow[];
}

export function applyReports(pool: pg.Pool, nodeId: string, reports: AttemptReport[], now: Date): Promise<AppliedReports> {
  if (reports.length === 0) return Promise.resolve({ outcomes: [], changed: [], admitted: [], stop: [] });
  return retryOnDeadlock(() => inTransaction(pool, (client) => applyInTransaction(client, nodeId, reports, now)));
}

async function applyInTransaction(client: pg.PoolClient, nodeId: string, reports: AttemptReport[], now: Date): Promise<AppliedReports> {
  const runIds = [...new Set(reports.map((report) => report.runId))];
  const runs = await lockRuns(client, 'r.id = ANY($1) ORDER BY r.id FOR NO KEY UPDATE', [runIds]);
  const changes = new Map(runs.map((run) => [run.id, new RunChange(run)]));

  const dubious: AttemptReport[] = [];
  for (const report of reports) {
    const change = changes.get(report.runId);
    if (change === undefined || !holds(change.before, nodeId, report)) dubious.push(report);
    else applyReport(change, report);
  }
  const ended = await endedByNode(client, nodeId, dubious);
  const admitted = await writeChanges(client, [...changes.values()], now);

  const stale = new Set(dubious.filter((report) => !ended.has(leaseKey(report))));
  return {
    outcomes: reports.map((report) => ({ id: report.id, outcome: stale.has(report) ? 'stale' : 'applied' })),
    changed: [...changes.values()].filter((change) => change.events.length > 0).map((change) => change.before.id),
    admitted,
    stop: leasesToStop(stale),
  };
}

function holds(run: LockedRun, nodeId: string, lease: LeaseRow): boolean {
  return run.nodeId === nodeId && run.epoch === lease.epoch && run.attempt === lease.attempt;
}

function applyReport(change: RunChange, report: AttemptReport): void {
  // What follows an attempt's end within the same batch repeats what came before it.
  if (change.attemptEnded) return;
  const { fact } = report;
  const isMoved = change.note(transition(change.standing, runFact(fact)), fact.kind === 'exited' ? fact.finishedAt : report.at);
  if (!isMoved) return;
  if (fact.kind === 'running') change.startedAt = fact.startedAt;
  if (fact.kind === 'exited') {
    change.startedAt ??= fact.startedAt;
    const { exitCode, signal, oomKilled, peakMemoryBytes, cpuTimeUs, logBytes } = fact;
    change.exit = { exitCode, signal, oomKilled, peakMemoryBytes, cpuTimeUs, logBytes };
  }
}

function runFact(fact: AttemptReport['fact']): RunFact {
  switch (fact.kind) {
    case 'exited':
      return { kind: 'exited', exitCode: fact.exitCode, signal: fact.signal, oomKilled: fact.oomKilled, stoppedBy: fact.stoppedBy };
    case 'failed':
      return { kind: 'failed', failure: { ...fact.failure, message: storable(fact.failure.message) }, retryable: fact.retryable };
    case 'preparing':
    case 'running':
    case 'stopping':
    case 'stopped':
      return { kind: fact.kind };
  }
}

const longestMessage = 4096;

/** A message may quote a registry or an image: what Postgres cannot store must not keep the report from being applied. */
function storable(message: string): string {
  return message.slice(0, longestMessage).replace(/[\0\p{Cs}]/gu, '\uFFFD');
}

/** Keys of those leases whose attempts this node itself has ended. */
async function endedByNode(client: pg.PoolClient, nodeId: string, leases: readonly LeaseRow[]): Promise<Set<string>> {
  if (leases.length === 0) return new Set();
  const { rows } = await client.query<{ run_id: string; number: number; epoch: number }>(
    `SELECT a.run_id, a.number, a.epoch
     FROM jsonb_to_recordset($1) AS l("runId" text, attempt int, epoch int)
     JOIN attempts a ON a.run_id = l."runId" AND a.number = l.attempt AND a.epoch = l.epoch
     WHERE a.node_id = $2 AND a.finished_at IS NOT NULL AND NOT a.abandoned`,
    [JSON.stringify(leases.map(({ runId, attempt, epoch }) => ({ runId, attempt, epoch }))), nodeId],
  );
  return new Set(rows.map((row) => leaseKey({ runId: row.run_id, attempt: row.number, epoch: row.epoch })));
}

function leasesToStop(stale: ReadonlySet<AttemptReport>): LeaseRow[] {
  const leases = new Map<string, LeaseRow>();
  for (const report of stale) {
    const { runId, attempt, epoch, fact } = report;
    if (fact.kind === 'exited' || fact.kind === 'failed' || fact.kind === 'stopped') leases.delete(leaseKey(report));
    else leases.set(leaseKey(report), { runId, attempt, epoch });
  }
  return [...leases.values()];
}

function leaseKey(lease: LeaseRow): string {
  return `${lease.runId}/${lease.attempt}/${lease.epoch}`;
}

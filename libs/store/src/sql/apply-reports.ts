import { type RunFact, transition } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { AppliedReports, AttemptReport, LeaseRow, NodeReports } from '../ports.js';
import { type LockedRun, lockRuns, RunChange, writeChanges } from './run-changes.js';

/*
 * The reports of one node or several, applied together. A report counts only if its node, attempt and epoch are the run's current ones (I3). One about an attempt that
 * the same node has ended is a repetition and is acknowledged as such; one about an attempt that was given up is stale, and so is everything else.
 */

/** See `RunStore.applyReportsOfNodes`. */
export async function applyReports(pool: pg.Pool, nodes: readonly NodeReports[], now: Date): Promise<AppliedReports[]> {
  if (nodes.every(({ reports }) => reports.length === 0)) {
    return nodes.map(() => ({ outcomes: [], changed: [], admitted: [], stop: [] }));
  }
  return retryOnDeadlock(() => inTransaction(pool, (client) => applyInTransaction(client, nodes, now)));
}

async function applyInTransaction(client: pg.PoolClient, nodes: readonly NodeReports[], now: Date): Promise<AppliedReports[]> {
  const runIds = [...new Set(nodes.flatMap(({ reports }) => reports.map((report) => report.runId)))];
  const runs = await lockRuns(client, 'r.id = ANY($1) ORDER BY r.id FOR NO KEY UPDATE', [runIds]);
  const changes = new Map(runs.map((run) => [run.id, new RunChange(run)]));

  const dubious = nodes.map(({ nodeId, reports }) =>
    reports.filter((report) => {
      const change = changes.get(report.runId);
      if (change === undefined || !holds(change.before, nodeId, report)) return true;
      applyReport(change, report);
      return false;
    }),
  );
  const ended = await endedByNodes(
    client,
    nodes.map(({ nodeId }, i) => ({ nodeId, leases: dubious[i] ?? [] })),
  );
  const touched = [...changes.values()].filter((change) => change.events.length > 0);
  const left = new Set(touched.flatMap(({ attemptEnded, before }) => (attemptEnded && before.nodeId !== null ? [before.nodeId] : [])));
  if (left.size > 1) await client.query('SELECT FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE', [[...left]]);
  const admitted = await writeChanges(client, touched, now);

  return nodes.map(({ nodeId, reports }, i) => {
    const stale = new Set((dubious[i] ?? []).filter((report) => !ended.has(`${nodeId} ${leaseKey(report)}`)));
    return {
      outcomes: reports.map((report) => ({ id: report.id, outcome: stale.has(report) ? 'stale' : 'applied' })),
      changed: touched.filter(({ before }) => before.nodeId === nodeId).map(({ before }) => before.id),
      admitted: i === 0 ? admitted : [],
      stop: leasesToStop(stale),
    };
  });
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
    const { exitCode, signal, oomKilled, peakMemoryBytes, cpuTimeUs, usage, logBytes } = fact;
    change.exit = { exitCode, signal, oomKilled, peakMemoryBytes, cpuTimeUs, usage, logBytes };
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

/** Node and key of those leases whose attempts that node itself has ended. */
async function endedByNodes(
  client: pg.PoolClient,
  nodes: readonly { readonly nodeId: string; readonly leases: readonly LeaseRow[] }[],
): Promise<Set<string>> {
  const asked = nodes.flatMap(({ nodeId, leases }) => leases.map(({ runId, attempt, epoch }) => ({ nodeId, runId, attempt, epoch })));
  if (asked.length === 0) return new Set();
  const { rows } = await client.query<{ node_id: string; run_id: string; number: number; epoch: number }>(
    `SELECT a.node_id, a.run_id, a.number, a.epoch
     FROM jsonb_to_recordset($1) AS l("nodeId" text, "runId" text, attempt int, epoch int)
     JOIN attempts a ON a.run_id = l."runId" AND a.number = l.attempt AND a.epoch = l.epoch AND a.node_id = l."nodeId"
     WHERE a.finished_at IS NOT NULL AND NOT a.abandoned`,
    [JSON.stringify(asked)],
  );
  return new Set(rows.map((row) => `${row.node_id} ${leaseKey({ runId: row.run_id, attempt: row.number, epoch: row.epoch })}`));
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

import { type AppliedReports as AppliedByStore, type AttemptReport, type LeaseRow, type NodeReports, RunStore } from '@berth/store';
import type { ExitRecord, Report } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { Gathering } from '../gathering.js';
import { Metrics } from '../metrics/metrics.js';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from './run-changes.js';

export interface AppliedReports {
  /** One for each report: it is in the store, or it came too late to change anything. Either way the node may forget it. */
  readonly acks: { id: string; outcome: 'applied' | 'stale' }[];
  /** Leases that the node reported on and does not have. */
  readonly stop: LeaseRow[];
}

/** Takes in what a node reports about its attempts. A report that comes twice is applied once. */
@Injectable()
export class ApplyReports {
  private readonly writes: Gathering<NodeReports, AppliedByStore>;

  constructor(
    @Inject(RunStore) runs: RunStore,
    private readonly changes: RunChanges,
    private readonly wakeUps: WakeUps,
    private readonly metrics: Metrics,
  ) {
    this.writes = new Gathering((nodes) => runs.applyReportsOfNodes(nodes, new Date()));
  }

  async execute(nodeId: string, reports: readonly Report[]): Promise<AppliedReports> {
    const now = new Date();
    const facts = reports.map((report) => attemptReport(report, now));
    const { outcomes, changed, admitted, stop } = await this.writes.run({ nodeId, reports: facts });
    this.changes.announce([...changed, ...admitted]);
    this.wakeUps.admitted(admitted);
    // An ended attempt leaves room, and a retry may want it.
    if (reports.some(endsAttempt)) this.wakeUps.capacityFreed();
    this.count(reports, outcomes, new Set(changed));
    return { acks: outcomes, stop };
  }

  private count(reports: readonly Report[], outcomes: AppliedReports['acks'], changed: ReadonlySet<string>): void {
    const applied = new Set(outcomes.flatMap(({ id, outcome }) => (outcome === 'applied' ? [id] : [])));
    for (const report of reports) {
      this.metrics.reports.inc({ kind: report.kind, outcome: applied.has(report.id) ? 'applied' : 'stale' });
      // An exit that is told twice was one exit.
      if (report.kind !== 'exited' || !applied.has(report.id) || !changed.has(report.runId)) continue;
      const { peakMemoryBytes, cpuTimeUs, usage } = report.exit;
      if (peakMemoryBytes !== null) this.metrics.runPeakMemory.observe(peakMemoryBytes);
      if (cpuTimeUs !== null) this.metrics.runCpuTime.observe(cpuTimeUs / 1e6);
      if (usage !== null) this.metrics.countUsage(usage);
    }
  }
}

function endsAttempt({ kind }: Report): boolean {
  return kind === 'exited' || kind === 'failed' || kind === 'stopped';
}

function attemptReport(report: Report, at: Date): AttemptReport {
  const { runId, attempt, epoch, id } = report;
  return { runId, attempt, epoch, id, at, fact: fact(report) };
}

function fact(report: Report): AttemptReport['fact'] {
  switch (report.kind) {
    case 'running':
      return { kind: 'running', startedAt: new Date(report.startedAt) };
    case 'exited':
      return exitFact(report.exit);
    case 'failed':
      return { kind: 'failed', failure: report.failure, retryable: report.retryable };
    case 'preparing':
    case 'stopping':
    case 'stopped':
      return { kind: report.kind };
  }
}

function exitFact(exit: ExitRecord): AttemptReport['fact'] {
  const { exitCode, signal, oomKilled, stoppedBy, startedAt, finishedAt, peakMemoryBytes, cpuTimeUs, usage, logBytes } = exit;
  return {
    kind: 'exited',
    exitCode,
    signal,
    oomKilled,
    stoppedBy,
    startedAt: startedAt === null ? null : new Date(startedAt),
    finishedAt: new Date(finishedAt),
    peakMemoryBytes,
    cpuTimeUs,
    usage,
    logBytes,
  };
}

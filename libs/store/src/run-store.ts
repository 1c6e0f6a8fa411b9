import type { ExplanationView, Placement, RunState } from '@berth/core';
import type pg from 'pg';
import type { Prisma, PrismaClient } from './generated/client.js';
import { inTransaction, retryOnDeadlock } from './pool.js';
import {
  type Actor,
  type AdmitInput,
  type AdmitOutcome,
  type AppliedReports,
  type AssignmentRow,
  type AttemptReport,
  type Forgotten,
  type HeldLeaseRow,
  type IdempotencyClaim,
  type LeaseRow,
  type NodeReports,
  type QuoteInput,
  type QuoteOutcome,
  type Retention,
  type RunEventRow,
  type RunRow,
  RunStore,
  systemActor,
  type UsageQuery,
  type UsageRow,
} from './ports.js';
import { runEventRow, runRelations, runRow } from './rows.js';
import { Admissions } from './sql/admit.js';
import { admitWaiting, lockTenants } from './sql/admit-waiting.js';
import { applyReports } from './sql/apply-reports.js';
import { assignments, leases } from './sql/assignments.js';
import { cancel } from './sql/cancel.js';
import { deleteRun } from './sql/delete-run.js';
import { explanationView } from './sql/explanation-view.js';
import { forgetOld } from './sql/forget-old.js';
import { commitPlacements, type PlacementView, placementView } from './sql/place.js';
import { quote } from './sql/quote.js';
import { releaseLost } from './sql/release-lost.js';
import { standings } from './sql/standings.js';
import { activeImages, totals } from './sql/tenant-usage.js';
import { usage } from './sql/usage.js';

const withRelations = { include: runRelations, relationLoadStrategy: 'join' } as const;

// An event's id is drawn before its transaction commits, so a reader across runs could step over one that is still being written.
const settlingMs = 1000;

export class PrismaRunStore extends RunStore {
  private readonly admissions: Admissions;

  constructor(
    private readonly prisma: PrismaClient,
    private readonly pool: pg.Pool,
  ) {
    super();
    this.admissions = new Admissions(pool, (tenantId, runId) => this.find(tenantId, runId));
  }

  override admit(input: AdmitInput): Promise<AdmitOutcome> {
    return this.admissions.admit(input);
  }

  override quote(input: QuoteInput): Promise<QuoteOutcome> {
    return quote(this.pool, input);
  }

  override findReplay(tenantId: string, claim: IdempotencyClaim): Promise<Extract<AdmitOutcome, { kind: 'replayed' | 'refused' }> | null> {
    return this.admissions.findReplay(tenantId, claim);
  }

  override async find(tenantId: string, runId: string): Promise<RunRow | null> {
    const run = await this.prisma.run.findFirst({ where: { id: runId, tenantId }, ...withRelations });
    return run === null ? null : runRow(run);
  }

  override async list(
    tenantId: string,
    filter: { state?: RunState; label?: { key: string; value: string }; limit: number; cursor?: string },
  ): Promise<{ runs: RunRow[]; nextCursor: string | null }> {
    const where: Prisma.RunWhereInput = { tenantId };
    if (filter.state !== undefined) where.state = filter.state;
    if (filter.label !== undefined) where.labels = { path: [filter.label.key], equals: filter.label.value };
    if (filter.cursor !== undefined) where.id = { lt: filter.cursor };
    const found = await this.prisma.run.findMany({ where, orderBy: { id: 'desc' }, take: filter.limit + 1, ...withRelations });
    const runs = found.slice(0, filter.limit).map(runRow);
    return { runs, nextCursor: found.length > filter.limit ? (runs.at(-1)?.id ?? null) : null };
  }

  override async cancel(
    tenantId: string,
    runId: string,
    now: Date,
    by: Actor = systemActor,
  ): Promise<{ run: RunRow; stop: { nodeId: string; lease: LeaseRow } | null; admitted: string[] } | null> {
    const outcome = await cancel(this.pool, tenantId, runId, now, by);
    const run = outcome === null ? null : await this.find(tenantId, runId);
    return outcome === null || run === null ? null : { run, ...outcome };
  }

  override async delete(
    tenantId: string,
    runId: string,
    now: Date,
    by: Actor = systemActor,
  ): Promise<{ outcome: 'deleted' | 'runNotTerminal' | 'notFound'; admitted: string[] }> {
    const admitted = await deleteRun(this.pool, tenantId, runId, now, by);
    if (admitted !== null) return { outcome: 'deleted', admitted };
    const isThere = (await this.prisma.run.count({ where: { id: runId, tenantId } })) > 0;
    return { outcome: isThere ? 'runNotTerminal' : 'notFound', admitted: [] };
  }

  override forgetOld(retention: Retention, limit: number, now: Date): Promise<Forgotten> {
    return forgetOld(this.pool, retention, limit, now);
  }

  override usage(query: UsageQuery): Promise<UsageRow[]> {
    return usage(this.pool, query);
  }

  override explanationView(tenantId: string, runId: string, now: Date): Promise<ExplanationView | null> {
    return explanationView(this.pool, tenantId, runId, now);
  }

  override async events(filter: { tenantId: string; runId?: string; after?: bigint; limit: number }): Promise<RunEventRow[]> {
    const where: Prisma.RunEventWhereInput = { tenantId: filter.tenantId };
    if (filter.after !== undefined) where.id = { gt: filter.after };
    // One run's events are written under its lock, hence in order; only across runs must a reader keep its distance.
    if (filter.runId !== undefined) where.runId = filter.runId;
    else where.recordedAt = { lt: new Date(Date.now() - settlingMs) };
    return (await this.prisma.runEvent.findMany({ where, orderBy: { id: 'asc' }, take: filter.limit })).map(runEventRow);
  }

  override placementView(limit: number): Promise<PlacementView> {
    return placementView(this.pool, limit);
  }

  override standings(): ReturnType<RunStore['standings']> {
    return standings(this.pool);
  }

  override commitPlacements(
    placements: Placement[],
    unplaced: { runId: string; reason: string }[],
    now: Date,
  ): Promise<{ nodeId: string; lease: LeaseRow }[]> {
    return commitPlacements(this.pool, placements, unplaced, now);
  }

  override assignments(wanted: readonly { readonly nodeId: string; readonly runIds: readonly string[] }[]): Promise<AssignmentRow[]> {
    return assignments(this.pool, wanted);
  }

  override leases(nodeId: string): Promise<HeldLeaseRow[]> {
    return leases(this.pool, nodeId);
  }

  override async applyReports(nodeId: string, reports: AttemptReport[], now: Date): Promise<AppliedReports> {
    const [applied] = await this.applyReportsOfNodes([{ nodeId, reports }], now);
    if (applied === undefined) throw new Error('no answer to the reports');
    return applied;
  }

  override applyReportsOfNodes(nodes: readonly NodeReports[], now: Date): Promise<AppliedReports[]> {
    return applyReports(this.pool, nodes, now);
  }

  override releaseLost(lostBefore: Date, now: Date): Promise<{ changed: string[]; admitted: string[] }> {
    return releaseLost(this.pool, lostBefore, now);
  }

  override async stalled(before: Date, limit: number): Promise<{ runId: string; attempt: number }[]> {
    const runs = await this.prisma.run.findMany({
      where: { state: 'queued', reserved: true, queuedAt: { lt: before } },
      select: { id: true, attempt: true },
      orderBy: { queuedAt: 'asc' },
      take: limit,
    });
    return runs.map((run) => ({ runId: run.id, attempt: run.attempt + 1 }));
  }

  override async admitWaiting(now: Date): Promise<string[]> {
    const { rows } = await this.pool.query<{ id: string }>('SELECT id FROM tenants WHERE waiting_runs > 0 ORDER BY id');
    const admitted: string[] = [];
    for (const { id } of rows) {
      const some = await retryOnDeadlock(() =>
        inTransaction(this.pool, async (client) => {
          await lockTenants(client, [id]);
          return admitWaiting(client, [id], now);
        }),
      );
      admitted.push(...some);
    }
    return admitted;
  }

  override outbox(limit: number): Promise<{ id: bigint; runId: string; attempt: number }[]> {
    return this.prisma.outbox.findMany({ orderBy: { id: 'asc' }, take: limit });
  }

  override async outboxPublished(ids: bigint[]): Promise<void> {
    await this.prisma.outbox.deleteMany({ where: { id: { in: ids } } });
  }

  override activeImages(tenantId: string): Promise<Map<string, number>> {
    return activeImages(this.pool, tenantId);
  }

  override totals(tenantId: string): ReturnType<RunStore['totals']> {
    return totals(this.pool, tenantId);
  }

  override async countByState(): Promise<Record<string, number>> {
    const counts = await this.prisma.run.groupBy({ by: ['state'], _count: { _all: true } });
    return Object.fromEntries(counts.map((row) => [row.state, row._count._all]));
  }
}

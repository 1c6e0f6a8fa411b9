import { randomBytes } from 'node:crypto';
import { nextRuns, type Placement, place } from '@berth/core';
import { freshDatabase } from '@berth/testing';
import type pg from 'pg';
import { openStore } from './open-store.js';
import { openPool } from './pool.js';
import type { AdmitInput, AdmitOutcome, AttemptReport, LeaseRow, NodeRow, QuotaRow, RunRow, Store, TenantRow } from './ports.js';

/* What the specs of the store have in common: a fresh database, and short words for a run's life. */

export const MiB = 1024 * 1024;
export const digest = `sha256:${'a'.repeat(64)}`;

export class StoreFixture {
  private lastTick = 0;

  private constructor(
    readonly url: string,
    readonly store: Store,
    private readonly drop: () => Promise<void>,
    private readonly pool = openPool(url, 2),
  ) {}

  static async open(poolSize = 10): Promise<StoreFixture> {
    const database = await freshDatabase();
    const store = openStore({ url: database.url, poolSize });
    await store.migrate();
    return new StoreFixture(database.url, store, () => database.drop());
  }

  /** Forgets everything but the schema. */
  async clear(): Promise<void> {
    await this.query(
      'TRUNCATE tenants, members, budgets, usage_days, nodes, join_tokens, api_keys, runs, attempts, run_events, idempotency_keys, outbox, log_chunks',
    );
  }

  /** One statement past the store, for what only a look into the tables can tell. */
  async query<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.pool.query<Row>(text, values)).rows;
  }

  async close(): Promise<void> {
    await this.pool.end();
    await this.store.close();
    await this.drop();
  }

  tenant(quota: Partial<QuotaRow> = {}): Promise<TenantRow> {
    const name = `t-${randomBytes(6).toString('hex')}`;
    return this.store.tenants.create({
      name,
      quota: { concurrentRuns: 100, cpuMillis: 1_000_000, memoryBytes: 1_000_000 * MiB, ...quota },
      requireDigest: false,
    });
  }

  /** A node that has joined and said what it offers. */
  async node(cpuMillis = 4000, memoryBytes = 4096 * MiB, features: string[] = []): Promise<NodeRow> {
    const tokenHash = randomBytes(32).toString('hex');
    const now = new Date();
    await this.store.nodes.createJoinToken({ hash: tokenHash, expiresAt: new Date(now.getTime() + 60_000), uses: 1 });
    const node = await this.store.nodes.join({ tokenHash, credentialHash: randomBytes(32).toString('hex'), name: 'node', now });
    if (node === null) throw new Error('the join token was refused');
    const system = { agentVersion: '0', kernel: '6.1', architecture: 'amd64', cgroupMode: 'v2' as const };
    const facts = { cpuMillis, memoryBytes, diskBytes: 1024 * MiB, ...system, features };
    await this.store.nodes.connected(node.id, facts, now);
    return { ...node, ...facts, state: 'ready' };
  }

  admit(tenant: TenantRow, change: Partial<AdmitInput> = {}, store = this.store): Promise<AdmitOutcome> {
    return store.runs.admit({
      tenantId: tenant.id,
      idempotency: null,
      image: 'registry.berth/a/b:latest',
      digest,
      spec: { onNodeLost: (change.maxAttempts ?? 1) > 1 ? 'retry' : 'wait' },
      request: { cpuMillis: 100, memoryBytes: 64 * MiB },
      onQuota: 'queue',
      priority: 50,
      maxAttempts: 1,
      labels: {},
      now: this.tick(),
      ...change,
    });
  }

  /** The time, but never the same millisecond twice: ids of one millisecond are in no order. */
  private tick(): Date {
    this.lastTick = Math.max(Date.now(), this.lastTick + 1);
    return new Date(this.lastTick);
  }

  async created(tenant: TenantRow, change: Partial<AdmitInput> = {}): Promise<RunRow> {
    const outcome = await this.admit(tenant, change);
    if (outcome.kind !== 'created') throw new Error(`the run was ${outcome.kind}`);
    return outcome.run;
  }

  /** One round of the scheduler; returns the leases by run. */
  async schedule(limit = 100, now = new Date()): Promise<Map<string, { nodeId: string; lease: LeaseRow }>> {
    const view = await this.store.runs.placementView(limit);
    const decision = place(view.fleet, nextRuns(view, new Map(), limit, now), 'pack');
    const placed = await this.store.runs.commitPlacements([...decision.placements] as Placement[], [...decision.unplaced], now);
    return new Map(placed.map((placement) => [placement.lease.runId, placement]));
  }

  /** Reports one fact about a lease, as the node's only news. */
  report(nodeId: string, lease: LeaseRow, fact: AttemptReport['fact']) {
    return this.store.runs.applyReports(nodeId, [reportOf(lease, fact)], new Date());
  }
}

export function reportOf(lease: LeaseRow, fact: AttemptReport['fact']): AttemptReport {
  return { ...lease, id: randomBytes(8).toString('hex'), at: new Date(), fact };
}

export function exited(change: Partial<Extract<AttemptReport['fact'], { kind: 'exited' }>> = {}): AttemptReport['fact'] {
  return {
    kind: 'exited',
    exitCode: 0,
    signal: null,
    oomKilled: false,
    stoppedBy: null,
    startedAt: new Date(),
    finishedAt: new Date(),
    peakMemoryBytes: MiB,
    cpuTimeUs: 1000,
    usage: null,
    logBytes: 0,
    ...change,
  };
}

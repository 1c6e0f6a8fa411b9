import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RunRow } from './ports.js';
import { digest, exited, MiB, reportOf, StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(() => fixture.clear());
afterAll(() => fixture.close());

describe('admission', () => {
  it('creates a queued run that holds its reservation, with its history and a wake-up', async () => {
    const tenant = await fixture.tenant();
    const outcome = await fixture.admit(tenant, { labels: { a: 'b' } });
    if (outcome.kind !== 'created') throw new Error(outcome.kind);
    expect(outcome.admitted).toEqual([outcome.run.id]);
    expect(await fixture.store.runs.find(tenant.id, outcome.run.id)).toEqual(outcome.run);
    expect(outcome.run).toMatchObject({ state: 'queued', waitingFor: null, digest, tenantName: tenant.name, attempts: [] });
    const events = await fixture.store.runs.events({ tenantId: tenant.id, runId: outcome.run.id, limit: 10 });
    expect(events.map((event) => event.type)).toEqual(['created', 'admitted']);
    expect(await fixture.store.runs.outbox(1000)).toContainEqual({ id: expect.anything(), runId: outcome.run.id, attempt: 1 });
    expect((await fixture.store.tenants.find(tenant.id))?.used).toMatchObject({ concurrentRuns: 1, cpuMillis: 100, memoryBytes: 64 * MiB });
  });

  it('lets a run wait over quota, names the dimension, and admits it when another ends', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1 });
    const first = await fixture.created(tenant);
    const second = await fixture.created(tenant);
    expect(second).toMatchObject({ state: 'queued', waitingFor: 'quota', waitingReason: 'concurrentRuns: 1 requested, 1 of 1 used' });
    const canceled = await fixture.store.runs.cancel(tenant.id, first.id, new Date());
    expect(canceled?.run.state).toBe('canceled');
    expect(canceled?.admitted).toEqual([second.id]);
    expect(await fixture.store.runs.find(tenant.id, second.id)).toMatchObject({ waitingFor: null, waitingReason: null });
  });

  it('refuses over quota when asked to, and what can never fit in any case', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1, cpuMillis: 500 });
    await fixture.created(tenant);
    expect(await fixture.admit(tenant, { onQuota: 'reject' })).toEqual({
      kind: 'refused',
      code: 'overQuota',
      dimension: 'concurrentRuns',
      limit: 1,
      used: 1,
      requested: 1,
    });
    expect(await fixture.admit(tenant, { request: { cpuMillis: 501, memoryBytes: MiB } })).toEqual({
      kind: 'refused',
      code: 'quotaNeverFits',
      dimension: 'cpuMillis',
      limit: 500,
      used: 100,
      requested: 501,
    });
    expect((await fixture.store.runs.list(tenant.id, { limit: 10 })).runs).toHaveLength(1);
  });

  it('answers a repeated key with the same run, another body with a refusal, and another tenant with a run of its own', async () => {
    const [tenant, other] = [await fixture.tenant(), await fixture.tenant()];
    const idempotency = { key: 'k', bodyHash: 'h' };
    const run = await fixture.created(tenant, { idempotency });
    expect(await fixture.admit(tenant, { idempotency })).toMatchObject({ kind: 'replayed', run: { id: run.id } });
    expect(await fixture.admit(tenant, { idempotency: { key: 'k', bodyHash: 'x' } })).toEqual({
      kind: 'refused',
      code: 'idempotencyMismatch',
    });
    expect(await fixture.admit(other, { idempotency })).toMatchObject({ kind: 'created' });
  });

  it('keeps no trace of a key whose run was refused', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1 });
    const running = await fixture.created(tenant);
    const idempotency = { key: 'k', bodyHash: 'h' };
    expect(await fixture.admit(tenant, { idempotency, onQuota: 'reject' })).toMatchObject({ kind: 'refused' });
    await fixture.store.runs.cancel(tenant.id, running.id, new Date());
    expect(await fixture.admit(tenant, { idempotency, onQuota: 'reject' })).toMatchObject({ kind: 'created' });
  });

  it('keeps strict order: a small run never passes a large one that waits, a higher priority does', async () => {
    const tenant = await fixture.tenant({ cpuMillis: 1000 });
    const first = await fixture.created(tenant, { request: { cpuMillis: 600, memoryBytes: MiB } });
    const large = await fixture.created(tenant, { request: { cpuMillis: 900, memoryBytes: MiB } });
    const small = await fixture.created(tenant, { request: { cpuMillis: 100, memoryBytes: MiB } });
    expect(large.waitingReason).toBe('cpuMillis: 900 requested, 600 of 1000 used');
    expect(small).toMatchObject({ waitingFor: 'quota', waitingReason: 'earlier runs of this tenant wait for quota' });
    expect(await fixture.admit(tenant, { onQuota: 'reject' })).toMatchObject({
      kind: 'refused',
      code: 'overQuota',
      dimension: 'cpuMillis',
    });

    const urgent = await fixture.admit(tenant, { priority: 90, request: { cpuMillis: 100, memoryBytes: MiB } });
    expect(urgent).toMatchObject({ kind: 'created', admitted: [urgent.kind === 'created' && urgent.run.id] });
    const freed = await fixture.store.runs.cancel(tenant.id, first.id, new Date());
    expect(freed?.admitted).toEqual([large.id]);
  });

  it('admits the next when a waiting run is cancelled at the head of the line, or the quota is raised', async () => {
    const tenant = await fixture.tenant({ cpuMillis: 1000 });
    await fixture.created(tenant, { request: { cpuMillis: 600, memoryBytes: MiB } });
    const large = await fixture.created(tenant, { request: { cpuMillis: 900, memoryBytes: MiB } });
    const small = await fixture.created(tenant, { request: { cpuMillis: 100, memoryBytes: MiB } });
    const another = await fixture.created(tenant, { request: { cpuMillis: 900, memoryBytes: MiB } });
    expect((await fixture.store.runs.cancel(tenant.id, large.id, new Date()))?.admitted).toEqual([small.id]);
    const raised = await fixture.store.tenants.update(tenant.id, { quota: { cpuMillis: 2000 } });
    expect(raised?.admitted).toEqual([another.id]);
    expect(raised?.tenant.used.cpuMillis).toBe(1600);
  });

  it('passes over a waiting run that a lowered quota can never hold', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1, cpuMillis: 1000 });
    const first = await fixture.created(tenant);
    const large = await fixture.created(tenant, { request: { cpuMillis: 900, memoryBytes: MiB } });
    const small = await fixture.created(tenant);
    await fixture.store.tenants.update(tenant.id, { quota: { cpuMillis: 500 } });
    expect((await fixture.store.runs.cancel(tenant.id, first.id, new Date()))?.admitted).toEqual([small.id]);
    expect((await fixture.store.runs.find(tenant.id, large.id))?.waitingFor).toBe('quota');
  });
});

describe("a run's life", () => {
  it('goes from placement through its reports to its end, and gives back room and quota', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const run = await fixture.created(tenant);
    const placed = (await fixture.schedule()).get(run.id);
    expect(placed).toEqual({ nodeId: node.id, lease: { runId: run.id, attempt: 1, epoch: 1 } });
    if (placed === undefined) return;
    expect((await fixture.store.nodes.find(node.id))?.reserved).toEqual({ cpuMillis: 100, memoryBytes: 64 * MiB, diskBytes: 0, runs: 1 });
    expect(await fixture.store.runs.leases(node.id)).toEqual([{ lease: placed.lease, stop: false }]);
    const other = await fixture.node();
    const asked = [
      { nodeId: other.id, runIds: [run.id] },
      { nodeId: node.id, runIds: ['run_x', run.id] },
    ];
    const { id, tenantId, tenantName, image, digest: pinned, spec, createdAt } = run;
    expect(await fixture.store.runs.assignments(asked)).toEqual([
      { nodeId: node.id, lease: placed.lease, stop: false, run: { id, tenantId, tenantName, image, digest: pinned, spec, createdAt } },
    ]);

    const startedAt = new Date('2026-01-01T00:00:00Z');
    const applied = await fixture.store.runs.applyReports(
      node.id,
      [
        reportOf(placed.lease, { kind: 'preparing' }),
        reportOf(placed.lease, { kind: 'running', startedAt }),
        reportOf(placed.lease, exited({ exitCode: 37, startedAt, logBytes: 12, peakMemoryBytes: 5000, cpuTimeUs: 77 })),
      ],
      new Date(),
    );
    expect(applied.outcomes.map((o) => o.outcome)).toEqual(['applied', 'applied', 'applied']);
    expect(applied.changed).toEqual([run.id]);
    const failure = { code: 'nonZeroExit', message: 'the container exited with 37', blame: 'user' };
    expect(await fixture.store.runs.find(tenant.id, run.id)).toMatchObject({
      state: 'failed',
      exitCode: 37,
      failure,
      startedAt,
      attempts: [
        { number: 1, epoch: 1, nodeId: node.id, exitCode: 37, failure, peakMemoryBytes: 5000, cpuTimeUs: 77, logBytes: 12, startedAt },
      ],
    });
    const events = await fixture.store.runs.events({ tenantId: tenant.id, runId: run.id, limit: 100 });
    expect(events.map((event) => event.type)).toEqual(['created', 'admitted', 'placed', 'preparing', 'running', 'failed']);
    expect((await fixture.store.nodes.find(node.id))?.reserved).toEqual({ cpuMillis: 0, memoryBytes: 0, diskBytes: 0, runs: 0 });
    expect((await fixture.store.tenants.find(tenant.id))?.used.concurrentRuns).toBe(0);
    expect(await fixture.store.runs.leases(node.id)).toEqual([]);
  });

  it('settles quota once, however often the end is reported, and never leaves a terminal state', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const [run, other] = [await fixture.created(tenant), await fixture.created(tenant)];
    const lease = (await fixture.schedule()).get(run.id)?.lease;
    if (lease === undefined) throw new Error('not placed');
    const last = reportOf(lease, exited());
    for (let i = 0; i < 3; i++) {
      const { outcomes, stop } = await fixture.store.runs.applyReports(
        node.id,
        [last, reportOf(lease, exited({ exitCode: 1 }))],
        new Date(),
      );
      expect(outcomes.map((o) => o.outcome)).toEqual(['applied', 'applied']);
      expect(stop).toEqual([]);
    }
    expect(await fixture.store.runs.find(tenant.id, run.id)).toMatchObject({ state: 'succeeded', exitCode: 0 });
    expect((await fixture.store.runs.cancel(tenant.id, run.id, new Date()))?.run.state).toBe('succeeded');
    expect((await fixture.store.tenants.find(tenant.id))?.used.concurrentRuns).toBe(1);
    expect((await fixture.store.nodes.find(node.id))?.reserved.runs).toBe(1);
    expect((await fixture.store.runs.find(tenant.id, other.id))?.state).toBe('placed');
  });

  it('answers a stale epoch or a foreign node with "stale", changes no row, and names the lease to let go', async () => {
    const tenant = await fixture.tenant();
    const [node, stranger] = [await fixture.node(), await fixture.node(1, 1)];
    const run = await fixture.created(tenant);
    const lease = (await fixture.schedule()).get(run.id)?.lease;
    if (lease === undefined) throw new Error('not placed');
    const before = await fixture.store.runs.find(tenant.id, run.id);
    for (const [nodeId, wrong] of [
      [stranger.id, lease],
      [node.id, { ...lease, epoch: 2 }],
      [node.id, { ...lease, attempt: 2 }],
      [node.id, { ...lease, runId: 'run_00000000000000000000000000' }],
    ] as const) {
      const answer = await fixture.report(nodeId, wrong, { kind: 'running', startedAt: new Date() });
      expect(answer).toMatchObject({ outcomes: [{ outcome: 'stale' }], changed: [], stop: [wrong] });
      expect(await fixture.report(nodeId, wrong, exited())).toMatchObject({ outcomes: [{ outcome: 'stale' }], changed: [], stop: [] });
    }
    expect(await fixture.store.runs.find(tenant.id, run.id)).toEqual(before);
  });

  it('takes a failure whose message nobody can store, in part', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const run = await fixture.created(tenant);
    const lease = (await fixture.schedule()).get(run.id)?.lease;
    if (lease === undefined) throw new Error('not placed');
    const message = `a\0b\ud800c${'x'.repeat(10_000)}`;
    await fixture.report(node.id, lease, {
      kind: 'failed',
      failure: { code: 'imagePullFailed', message, blame: 'user' },
      retryable: false,
    });
    const stored = (await fixture.store.runs.find(tenant.id, run.id))?.failure?.message;
    expect(stored).toBe(`a\ufffdb\ufffdc${'x'.repeat(4091)}`);
  });

  it('retries with a higher epoch while attempts remain, then fails, and keeps each attempt', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const run = await fixture.created(tenant, { maxAttempts: 2 });
    for (const number of [1, 2]) {
      const lease = (await fixture.schedule()).get(run.id)?.lease;
      expect(lease).toEqual({ runId: run.id, attempt: number, epoch: number });
      if (lease === undefined) return;
      const answer = await fixture.report(node.id, lease, exited({ exitCode: number }));
      expect(answer.changed).toEqual([run.id]);
      const found = await fixture.store.runs.find(tenant.id, run.id);
      expect(found?.state).toBe(number === 1 ? 'queued' : 'failed');
      expect((await fixture.store.tenants.find(tenant.id))?.used.concurrentRuns).toBe(number === 1 ? 1 : 0);
      if (number === 1) expect(await fixture.store.runs.outbox(1000)).toContainEqual({ id: expect.anything(), runId: run.id, attempt: 2 });
    }
    const found = await fixture.store.runs.find(tenant.id, run.id);
    expect(found?.attempts.map((attempt) => attempt.exitCode)).toEqual([1, 2]);
  });

  it('cancels a placed run through its node; a natural exit that comes first stands', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const [stopped, finished] = [await fixture.created(tenant), await fixture.created(tenant)];
    const leases = await fixture.schedule();
    for (const run of [stopped, finished]) {
      const answer = await fixture.store.runs.cancel(tenant.id, run.id, new Date());
      expect(answer).toMatchObject({
        run: { state: 'placed', cancelRequested: true },
        stop: { nodeId: node.id, lease: leases.get(run.id)?.lease },
      });
    }
    expect((await fixture.store.runs.assignments([{ nodeId: node.id, runIds: [stopped.id] }])).map((a) => a.stop)).toEqual([true]);
    const lease = (id: string) => leases.get(id)?.lease ?? { runId: id, attempt: 0, epoch: 0 };
    await fixture.report(node.id, lease(stopped.id), exited({ exitCode: null, signal: 15, stoppedBy: 'request' }));
    await fixture.report(node.id, lease(finished.id), exited());
    expect((await fixture.store.runs.find(tenant.id, stopped.id))?.state).toBe('canceled');
    expect((await fixture.store.runs.find(tenant.id, finished.id))?.state).toBe('succeeded');
  });

  it('hides runs from other tenants, pages through lists, filters, and deletes only what has ended', async () => {
    const [tenant, other] = [await fixture.tenant(), await fixture.tenant()];
    const runs: RunRow[] = [];
    for (let i = 0; i < 5; i++) runs.push(await fixture.created(tenant, { labels: { 'a.b/c': String(i % 2) } }));
    const id = runs[0]?.id ?? '';
    expect(await fixture.store.runs.find(other.id, id)).toBeNull();
    expect(await fixture.store.runs.cancel(other.id, id, new Date())).toBeNull();
    expect(await fixture.store.runs.delete(other.id, id, new Date())).toMatchObject({ outcome: 'notFound' });
    expect(await fixture.store.runs.events({ tenantId: other.id, runId: id, limit: 10 })).toEqual([]);

    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await fixture.store.runs.list(tenant.id, { limit: 2, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...page.runs.map((run) => run.id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual([...runs.map((run) => run.id)].sort().reverse());
    expect((await fixture.store.runs.list(tenant.id, { limit: 10, label: { key: 'a.b/c', value: '1' } })).runs).toHaveLength(2);
    expect((await fixture.store.runs.list(tenant.id, { limit: 10, state: 'failed' })).runs).toEqual([]);

    expect(await fixture.store.runs.delete(tenant.id, id, new Date())).toMatchObject({ outcome: 'runNotTerminal' });
    await fixture.store.runs.cancel(tenant.id, id, new Date());
    expect(await fixture.store.runs.delete(tenant.id, id, new Date())).toMatchObject({ outcome: 'deleted' });
    expect(await fixture.store.runs.find(tenant.id, id)).toBeNull();
    expect(await fixture.store.runs.delete(tenant.id, id, new Date())).toMatchObject({ outcome: 'notFound' });
  });
});

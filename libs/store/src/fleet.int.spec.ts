import { nextRuns, starvationMs } from '@berth/core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RunRow } from './ports.js';
import { exited, MiB, reportOf, StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(() => fixture.clear());
afterAll(() => fixture.close());

const secondMs = 1000;

describe('nodes', () => {
  it('join with a token as often as it allows, and not with a spent, expired or unknown one', async () => {
    const now = new Date();
    const { nodes } = fixture.store;
    await nodes.createJoinToken({ hash: 'h', expiresAt: new Date(now.getTime() + secondMs), uses: 2 });
    const join = (tokenHash: string, credentialHash: string, at = now) => nodes.join({ tokenHash, credentialHash, name: 'n', now: at });
    expect(await join('h', 'c1', new Date(now.getTime() + secondMs))).toBeNull();
    const node = await join('h', 'c1');
    expect(node).toMatchObject({ name: 'n', state: 'lost', cpuMillis: 0, lastHeartbeatAt: null });
    expect(await join('h', 'c2')).not.toBeNull();
    expect(await join('h', 'c3')).toBeNull();
    expect(await join('x', 'c4')).toBeNull();
    expect(await nodes.authenticate('c1')).toEqual(node);
    expect(await nodes.authenticate('c3')).toBeNull();
    expect(await nodes.list()).toHaveLength(2);
  });

  it('are lost when silent, come back when heard, and stay draining or dead through it', async () => {
    const { nodes } = fixture.store;
    const [ready, draining, dead] = [await fixture.node(), await fixture.node(), await fixture.node()];
    const ids = [ready.id, draining.id, dead.id];
    await nodes.setState(draining.id, 'draining');
    await nodes.setState(dead.id, 'dead');
    const states = async () => (await nodes.list()).map((node) => node.state);
    const later = new Date(Date.now() + 60 * secondMs);
    expect((await nodes.markLost(later)).toSorted()).toEqual([ready.id, draining.id].toSorted());
    expect(await nodes.markLost(later)).toEqual([]);
    expect(await states()).toEqual(['lost', 'lost', 'dead']);
    await nodes.heartbeats(ids, later);
    expect(await states()).toEqual(['ready', 'draining', 'dead']);
    expect((await nodes.find(ready.id))?.lastHeartbeatAt).toEqual(later);
    await nodes.heartbeats(ids, new Date(0));
    expect((await nodes.find(ready.id))?.lastHeartbeatAt).toEqual(later);
    expect((await nodes.setState(draining.id, 'ready'))?.state).toBe('ready');
    expect((await nodes.setState(dead.id, 'ready'))?.state).toBe('lost');
    expect(await nodes.setState('node_x', 'ready')).toBeNull();
  });
});

describe('placement', () => {
  it('puts runs where there is room on three nodes of unequal size, one full and one dead', async () => {
    const tenant = await fixture.tenant();
    const full = await fixture.node(1000, 1024 * MiB);
    const filler = await fixture.created(tenant, { request: { cpuMillis: 1000, memoryBytes: MiB } });
    expect((await fixture.schedule()).get(filler.id)?.nodeId).toBe(full.id);
    const [small, dead] = [await fixture.node(500, 512 * MiB), await fixture.node(9000, 9000 * MiB)];
    await fixture.store.nodes.setState(dead.id, 'dead');
    for (let i = 0; i < 7; i++) await fixture.created(tenant);
    const placed = await fixture.schedule();
    expect([...placed.values()].map((p) => p.nodeId)).toEqual(Array(5).fill(small.id));
    const { runs } = await fixture.store.runs.list(tenant.id, { state: 'queued', limit: 10 });
    expect(runs.map((run) => [run.waitingFor, run.waitingReason])).toEqual(
      Array(2).fill(['capacity', 'cpuMillis: no node has enough free']),
    );
  });

  it('tells once why a run waits, and again only when the reason changes', async () => {
    const tenant = await fixture.tenant();
    const run = await fixture.created(tenant);
    for (let i = 0; i < 3; i++) await fixture.schedule();
    await fixture.node(10, 10);
    for (let i = 0; i < 3; i++) await fixture.schedule();
    const events = await fixture.store.runs.events({ tenantId: tenant.id, runId: run.id, limit: 100 });
    expect(events.filter((event) => event.type === 'waiting').map((event) => event.message)).toEqual([
      'no node is ready',
      'cpuMillis: no ready node is large enough',
    ]);
  });

  it('takes turns between tenants and counts what each already has running', async () => {
    const [greedy, modest] = [await fixture.tenant(), await fixture.tenant()];
    await fixture.node(250, 4096 * MiB);
    const first = await fixture.created(greedy);
    await fixture.schedule(1);
    for (let i = 0; i < 5; i++) await fixture.created(greedy);
    for (let i = 0; i < 2; i++) await fixture.created(modest);
    const view = await fixture.store.runs.placementView(100);
    // Both have a second one next; then the older of the two goes first.
    const runs = nextRuns(view, new Map(), 100, new Date());
    expect(runs.map((run) => run.tenantId).slice(0, 4)).toEqual([modest.id, greedy.id, modest.id, greedy.id]);
    expect(runs).toHaveLength(7);
    expect(runs.some((run) => run.runId === first.id)).toBe(false);
    expect(runs[0]).toMatchObject({ cpuMillis: 100, memoryBytes: 64 * MiB, priority: 50, attempt: 1, createdAt: expect.any(Date) });
  });

  it('orders a tenant by priority and then age', async () => {
    const tenant = await fixture.tenant();
    const made: RunRow[] = [];
    for (const priority of [50, 10, 90, 50]) made.push(await fixture.created(tenant, { priority }));
    const view = await fixture.store.runs.placementView(100);
    const order = [2, 0, 3, 1].map((i) => made[i]?.id);
    const [a, b, c, d] = order;
    expect(view.runs.map((run) => run.runId)).toEqual(expect.arrayContaining(order));
    await fixture.node(100, 4096 * MiB);
    const roomy = await fixture.store.runs.placementView(100);
    const ids = roomy.runs.map((run) => run.runId);
    expect(ids[0]).toBe(a);
    expect(ids.at(-1)).toBe(d);
    expect([ids[1], ids[2]]).toEqual([b, c]);
  });

  it('does not let runs that fit nowhere crowd out those that do', async () => {
    const tenant = await fixture.tenant();
    await fixture.node(1000, 4096 * MiB);
    for (let i = 0; i < 10; i++) await fixture.created(tenant, { priority: 90, request: { cpuMillis: 2000, memoryBytes: MiB } });
    const small = await fixture.created(tenant);
    expect((await fixture.schedule(5)).has(small.id)).toBe(true);
  });

  it('puts runs only where all that they need is offered, and lets nothing wait behind those that need what nobody has', async () => {
    const tenant = await fixture.tenant();
    await fixture.node(9000);
    const other = await fixture.node(1000, 4096 * MiB, ['runtime:runsc']);
    for (let i = 0; i < 5; i++) await fixture.created(tenant, { priority: 90, needs: ['runtime:crun'] });
    const special = await fixture.created(tenant, { needs: ['runtime:runsc'] });
    const ordinary = await fixture.created(tenant);
    const placed = await fixture.schedule(3);
    expect(placed.get(special.id)?.nodeId).toBe(other.id);
    expect(placed.has(ordinary.id)).toBe(true);
    expect(placed.size).toBe(2);
  });

  it('keeps a node free for a large run that has waited too long, until it fits', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node(1000, 4096 * MiB);
    const small = () => fixture.created(tenant, { request: { cpuMillis: 600, memoryBytes: MiB } });
    const running = await small();
    const lease = (await fixture.schedule()).get(running.id)?.lease;
    if (lease === undefined) throw new Error('not placed');
    const large = await fixture.created(tenant, { request: { cpuMillis: 1000, memoryBytes: MiB } });
    const quick = await fixture.created(tenant, { request: { cpuMillis: 400, memoryBytes: MiB } });
    const late = new Date(Date.now() + starvationMs);
    expect((await fixture.schedule(100, late)).size).toBe(0);
    expect((await fixture.store.runs.find(tenant.id, large.id))?.waitingReason).toBe('cpuMillis: no node has enough free');
    await fixture.report(node.id, lease, exited());
    expect([...(await fixture.schedule(100, late)).keys()]).toEqual([large.id]);
    expect((await fixture.store.runs.find(tenant.id, quick.id))?.state).toBe('queued');
  });

  it('shows of each tenant what it holds, what waits, and since when', async () => {
    const [busy, idle] = [await fixture.tenant(), await fixture.tenant()];
    await fixture.node(1000, 4096 * MiB);
    await fixture.created(busy, { request: { cpuMillis: 700, memoryBytes: MiB } });
    await fixture.schedule();
    const waiting = await fixture.created(busy, { request: { cpuMillis: 700, memoryBytes: MiB } });
    const { tenants } = await fixture.store.runs.standings();
    expect(tenants).toEqual([
      { tenantId: busy.id, weight: 100, held: { cpuMillis: 700, memoryBytes: MiB }, awaiting: 1, oldestQueuedAt: waiting.createdAt },
    ]);
    expect(tenants.some(({ tenantId }) => tenantId === idle.id)).toBe(false);
  });

  it('commits only what still holds, when two schedulers decide alike at the same time', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node(300, 4096 * MiB);
    for (let i = 0; i < 6; i++) await fixture.created(tenant);
    const view = await fixture.store.runs.placementView(100);
    const all = view.runs.map((run) => ({ runId: run.runId, nodeId: node.id }));
    const answers = await Promise.all([1, 2, 3, 4].map(() => fixture.store.runs.commitPlacements(all, [], new Date())));
    const placed = answers.flat().map((placement) => placement.lease.runId);
    expect(placed).toHaveLength(3);
    expect(new Set(placed).size).toBe(3);
    expect((await fixture.store.nodes.find(node.id))?.reserved).toMatchObject({ cpuMillis: 300, runs: 3 });
    expect(await fixture.store.runs.commitPlacements([{ runId: 'run_x', nodeId: node.id }], [], new Date())).toEqual([]);
  });

  it('places nothing on a node that went away after the view was read', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const run = await fixture.created(tenant);
    await fixture.store.nodes.setState(node.id, 'draining');
    expect(await fixture.store.runs.commitPlacements([{ runId: run.id, nodeId: node.id }], [], new Date())).toEqual([]);
    expect((await fixture.store.runs.find(tenant.id, run.id))?.state).toBe('queued');
  });

  it('drops the wake-up of a run once it is placed, and names runs that await a node too long', async () => {
    const tenant = await fixture.tenant();
    const run = await fixture.created(tenant);
    const later = new Date(Date.now() + 10 * secondMs);
    expect(await fixture.store.runs.stalled(new Date(0), 10)).toEqual([]);
    expect(await fixture.store.runs.stalled(later, 10)).toEqual([{ runId: run.id, attempt: 1 }]);
    const [row] = await fixture.store.runs.outbox(10);
    expect(row).toMatchObject({ runId: run.id, attempt: 1 });
    await fixture.node();
    await fixture.schedule();
    expect(await fixture.store.runs.outbox(10)).toEqual([]);
    expect(await fixture.store.runs.stalled(later, 10)).toEqual([]);
    await fixture.store.runs.outboxPublished([row?.id ?? 0n]);
    expect(await fixture.store.runs.countByState()).toEqual({ placed: 1 });
  });
});

describe('a lost node', () => {
  async function runOn(nodeCount: number, change: Parameters<StoreFixture['created']>[1]) {
    const tenant = await fixture.tenant();
    for (let i = 0; i < nodeCount; i++) await fixture.node();
    const run = await fixture.created(tenant, change);
    const placed = (await fixture.schedule()).get(run.id);
    if (placed === undefined) throw new Error('not placed');
    return { tenant, run, ...placed };
  }
  const find = async (tenantId: string, runId: string) => fixture.store.runs.find(tenantId, runId);
  const later = new Date(Date.now() + 3600 * secondMs);

  it('gives its runs back to be retried elsewhere once it was silent for long enough, not before', async () => {
    const { tenant, run, nodeId, lease } = await runOn(2, { maxAttempts: 2 });
    await fixture.store.nodes.markLost(later);
    expect(await fixture.store.runs.releaseLost(new Date(0), new Date())).toEqual({ changed: [], admitted: [] });
    expect(await fixture.store.runs.releaseLost(later, new Date())).toEqual({ changed: [run.id], admitted: [] });
    expect(await find(tenant.id, run.id)).toMatchObject({
      state: 'queued',
      attempts: [{ failure: { code: 'nodeLost', blame: 'platform' } }],
    });
    expect((await fixture.store.nodes.find(nodeId))?.reserved.runs).toBe(0);

    await fixture.store.nodes.heartbeats([(await fixture.store.nodes.list()).find((node) => node.id !== nodeId)?.id ?? ''], later);
    const second = (await fixture.schedule()).get(run.id);
    expect(second?.nodeId).not.toBe(nodeId);
    expect(second?.lease).toEqual({ runId: run.id, attempt: 2, epoch: 2 });

    // What the lost node says when it comes back changes nothing.
    const answer = await fixture.store.runs.applyReports(nodeId, [reportOf(lease, { kind: 'running', startedAt: new Date() })], new Date());
    expect(answer).toMatchObject({ outcomes: [{ outcome: 'stale' }], changed: [], stop: [lease] });
    expect(await fixture.report(nodeId, lease, exited())).toMatchObject({ outcomes: [{ outcome: 'stale' }], changed: [] });
    expect((await find(tenant.id, run.id))?.state).toBe('placed');
  });

  it('keeps its runs under "wait", however long it is silent', async () => {
    const { tenant, run, nodeId, lease } = await runOn(1, { maxAttempts: 2, spec: { onNodeLost: 'wait' } });
    await fixture.store.nodes.markLost(later);
    expect(await fixture.store.runs.releaseLost(later, new Date())).toEqual({ changed: [], admitted: [] });
    await fixture.report(nodeId, lease, exited());
    expect((await find(tenant.id, run.id))?.state).toBe('succeeded');
  });

  it('fails them when an operator declares it dead, and retries those that may be', async () => {
    const { tenant, run } = await runOn(1, { maxAttempts: 2, spec: { onNodeLost: 'wait' } });
    const retried = await fixture.created(tenant, { maxAttempts: 2 });
    const cancelled = await fixture.created(tenant, { maxAttempts: 2 });
    const node = (await fixture.schedule()).get(retried.id)?.nodeId ?? '';
    await fixture.store.runs.cancel(tenant.id, cancelled.id, new Date());
    await fixture.store.nodes.setState(node, 'dead');
    const { changed } = await fixture.store.runs.releaseLost(new Date(0), new Date());
    expect(changed.toSorted()).toEqual([run.id, retried.id, cancelled.id].toSorted());
    expect(await find(tenant.id, run.id)).toMatchObject({ state: 'failed', failure: { code: 'nodeLost' } });
    expect((await find(tenant.id, retried.id))?.state).toBe('queued');
    expect((await find(tenant.id, cancelled.id))?.state).toBe('canceled');
    expect((await fixture.store.tenants.find(tenant.id))?.used.concurrentRuns).toBe(1);
  });

  it('keeps its runs when it is heard from before they are given away', async () => {
    const { run, nodeId } = await runOn(1, { maxAttempts: 2 });
    await fixture.store.nodes.markLost(later);
    await fixture.store.nodes.heartbeats([nodeId], later);
    expect(await fixture.store.runs.releaseLost(later, new Date())).toEqual({ changed: [], admitted: [] });
    expect((await fixture.store.runs.leases(nodeId)).map(({ lease }) => lease.runId)).toEqual([run.id]);
  });
});

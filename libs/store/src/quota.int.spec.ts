import { runAmount } from '@berth/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { LeaseRow, NodeRow, QuotaRow } from './ports.js';
import { exited, MiB, StoreFixture } from './testing.js';

/* What tenants hold, keep and spend over the lives of their runs. After each test the books are counted again. */

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(() => fixture.clear());
afterEach(async () => {
  for (const { used, sum } of await fixture.store.tenants.recount()) expect(used).toEqual(sum);
});
afterAll(() => fixture.close());

const request = { cpuMillis: 500, memoryBytes: 512 * MiB, pids: 10, diskBytes: MiB, logBytes: 1000, attemptMs: 60_000 };
const used = async (id: string): Promise<QuotaRow> => {
  const tenant = await fixture.store.tenants.find(id);
  if (tenant === null) throw new Error('no tenant');
  return tenant.used;
};

async function runFor(node: NodeRow, lease: LeaseRow | undefined, ms: number, logBytes: number, exitCode = 0): Promise<void> {
  if (lease === undefined) throw new Error('not placed');
  const startedAt = new Date(Date.now() - ms);
  await fixture.report(node.id, lease, exited({ exitCode, startedAt, finishedAt: new Date(startedAt.getTime() + ms), logBytes }));
}

describe('a run', () => {
  it('sets its budget aside when admitted, spends what it took, and keeps its log until it is deleted', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const run = await fixture.created(tenant, { request, maxAttempts: 2 });
    const { concurrentRuns: runs, ...taken } = runAmount({ ...request, maxAttempts: 2 });
    expect(await used(tenant.id)).toMatchObject({ concurrentRuns: runs, ...taken, monthlyCpuMs: 60_000, logBytes: 2000 });

    await runFor(node, (await fixture.schedule()).get(run.id)?.lease, 10_000, 300, 1);
    expect(await used(tenant.id)).toMatchObject({ concurrentRuns: 1, ...taken });
    await runFor(node, (await fixture.schedule()).get(run.id)?.lease, 5000, 200);
    expect(await used(tenant.id)).toMatchObject({
      concurrentRuns: 0,
      cpuMillis: 0,
      diskBytes: 0,
      pids: 0,
      logBytes: 500,
      monthlyCpuMs: 7500,
      monthlyMemoryMibSeconds: 7680,
    });
    expect(await fixture.store.runs.delete(tenant.id, run.id, new Date())).toEqual({ outcome: 'deleted', admitted: [] });
    expect(await used(tenant.id)).toMatchObject({ logBytes: 0, monthlyCpuMs: 7500, monthlyMemoryMibSeconds: 7680 });
  });

  it('never spends more than it set aside, whatever its node says of time and log', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const run = await fixture.created(tenant, { request });
    await runFor(node, (await fixture.schedule()).get(run.id)?.lease, 10_000_000, 5_000_000);
    expect(await used(tenant.id)).toMatchObject({ logBytes: 1000, monthlyCpuMs: 30_000, monthlyMemoryMibSeconds: 30_720 });
  });

  it('spends nothing when it is cancelled before it starts', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1 });
    const [held, waiting] = [await fixture.created(tenant, { request }), await fixture.created(tenant, { request })];
    await fixture.store.runs.cancel(tenant.id, waiting.id, new Date());
    await fixture.store.runs.cancel(tenant.id, held.id, new Date());
    expect(Object.values(await used(tenant.id)).filter((amount) => amount > 0)).toEqual([2]);
  });

  it('that waits for log space is admitted when a log is deleted', async () => {
    const tenant = await fixture.tenant({ logBytes: 1500 });
    const node = await fixture.node();
    const first = await fixture.created(tenant, { request });
    await runFor(node, (await fixture.schedule()).get(first.id)?.lease, 1000, 900);
    const second = await fixture.created(tenant, { request });
    expect(second.waitingReason).toBe('logBytes: 1000 requested, 900 of 1500 used');
    expect((await fixture.store.runs.delete(tenant.id, first.id, new Date())).admitted).toEqual([second.id]);
  });
});

describe('a monthly budget', () => {
  const now = new Date('2026-01-31T23:59:59Z');
  const next = new Date('2026-02-01T00:00:01Z');

  it('is refused what exceeds it as a whole, makes wait what exceeds its rest, and is whole again the month after', async () => {
    const tenant = await fixture.tenant({ monthlyCpuMs: 50_000 });
    expect(await fixture.admit(tenant, { now, request: { ...request, attemptMs: 100_001 } })).toMatchObject({
      code: 'quotaNeverFits',
      dimension: 'monthlyCpuMs',
      limit: 50_000,
      requested: 50_001,
    });
    await fixture.created(tenant, { now, request });
    const second = await fixture.created(tenant, { now, request });
    expect(second.waitingReason).toBe('monthlyCpuMs: 30000 requested, 30000 of 50000 used');
    expect(await fixture.store.runs.admitWaiting(now)).toEqual([]);
    expect(await fixture.store.runs.admitWaiting(next)).toEqual([second.id]);
  });

  it('takes back what a run of an earlier month did not spend from that month alone', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node();
    const [early, late] = [await fixture.created(tenant, { now, request }), await fixture.created(tenant, { now: next, request })];
    const leases = await fixture.schedule();
    await runFor(node, leases.get(early.id)?.lease, 1000, 0);
    await runFor(node, leases.get(late.id)?.lease, 3000, 0);
    const months = await fixture.query('SELECT month - 2026 * 12 AS month, spent_cpu_ms FROM budgets ORDER BY month');
    expect(months).toEqual([
      { month: 0, spent_cpu_ms: 500 },
      { month: 1, spent_cpu_ms: 1500 },
    ]);
  });
});

describe('submissions', () => {
  it('are counted by the minute, accepted ones alone', async () => {
    const tenant = await fixture.tenant({ submissionsPerMinute: 2, concurrentRuns: 1 });
    const now = new Date('2026-01-01T00:00:59Z');
    const idempotency = { key: 'k', bodyHash: 'h' };
    await fixture.created(tenant, { now, idempotency });
    expect(await fixture.admit(tenant, { now, idempotency })).toMatchObject({ kind: 'replayed' });
    expect(await fixture.admit(tenant, { now, onQuota: 'reject' })).toMatchObject({ dimension: 'concurrentRuns' });
    await fixture.created(tenant, { now });
    expect(await fixture.admit(tenant, { now })).toMatchObject({ code: 'overQuota', dimension: 'submissionsPerMinute', limit: 2, used: 2 });
    await fixture.created(tenant, { now: new Date('2026-01-01T00:01:00Z') });
  });

  it('with a known key are found without another admission', async () => {
    const tenant = await fixture.tenant();
    const run = await fixture.created(tenant, { idempotency: { key: 'k', bodyHash: 'h' } });
    expect(await fixture.store.runs.findReplay(tenant.id, { key: 'k', bodyHash: 'h' })).toMatchObject({
      kind: 'replayed',
      run: { id: run.id },
    });
    expect(await fixture.store.runs.findReplay(tenant.id, { key: 'k', bodyHash: 'x' })).toEqual({
      kind: 'refused',
      code: 'idempotencyMismatch',
    });
    expect(await fixture.store.runs.findReplay(tenant.id, { key: 'l', bodyHash: 'h' })).toBeNull();
    expect(await used(tenant.id)).toMatchObject({ concurrentRuns: 1 });
  });
});

describe('preemption', () => {
  it('sends the youngest of the lowest priority back into the line, at once when it has no node yet', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 2 });
    const [older, younger] = [await fixture.created(tenant, { priority: 1 }), await fixture.created(tenant, { priority: 1 })];
    const outcome = await fixture.admit(tenant, { priority: 2, onQuota: 'preempt' });
    if (outcome.kind !== 'created') throw new Error(outcome.kind);
    expect(outcome).toMatchObject({ admitted: [outcome.run.id], changed: [younger.id], stops: [], run: { waitingFor: null } });
    expect(await fixture.store.runs.find(tenant.id, older.id)).toMatchObject({ waitingFor: null });
    expect(await fixture.store.runs.find(tenant.id, younger.id)).toMatchObject({
      state: 'queued',
      waitingFor: 'quota',
      waitingReason: `made way for ${outcome.run.id}, which has a higher priority`,
    });
  });

  it('stops one that is on a node, and admits the other at its end', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1 });
    const node = await fixture.node();
    const victim = await fixture.created(tenant, { priority: 1, request });
    const lease = (await fixture.schedule()).get(victim.id)?.lease;
    if (lease === undefined) throw new Error('not placed');
    const outcome = await fixture.admit(tenant, { priority: 2, onQuota: 'preempt', request });
    if (outcome.kind !== 'created') throw new Error(outcome.kind);
    expect(outcome).toMatchObject({ admitted: [], changed: [victim.id], stops: [{ nodeId: node.id, lease }] });
    // Another one does not take a second victim for room that is already on its way.
    const { admitted } = await fixture.report(node.id, lease, exited({ exitCode: null, signal: 15, stoppedBy: 'request' }));
    expect(admitted).toEqual([outcome.run.id]);
    expect(await fixture.store.runs.find(tenant.id, victim.id)).toMatchObject({
      state: 'canceled',
      failure: { code: 'preempted', message: `made way for ${outcome.run.id}, which has a higher priority`, blame: 'user' },
      attempts: [{ failure: { code: 'preempted' } }],
    });
    const events = await fixture.store.runs.events({ tenantId: tenant.id, runId: victim.id, limit: 20 });
    expect(events.at(-1)).toMatchObject({ type: 'canceled', message: `made way for ${outcome.run.id}, which has a higher priority` });
  });

  it('takes nothing from equals, from other tenants, or in vain', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 2, cpuMillis: 1000 });
    await fixture.created(await fixture.tenant({ concurrentRuns: 1 }), { priority: 0 });
    await fixture.created(tenant, { priority: 2, request: { cpuMillis: 900, memoryBytes: MiB } });
    await fixture.created(tenant, { priority: 1, request: { cpuMillis: 100, memoryBytes: MiB } });
    const outcome = await fixture.admit(tenant, { priority: 2, onQuota: 'preempt', request: { cpuMillis: 500, memoryBytes: MiB } });
    expect(outcome).toMatchObject({ kind: 'created', admitted: [], changed: [], stops: [], run: { waitingFor: 'quota' } });
  });
});

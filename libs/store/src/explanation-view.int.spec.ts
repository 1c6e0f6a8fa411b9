import { explainRun } from '@berth/core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { QuoteInput, TenantRow } from './ports.js';
import { exited, MiB, StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(() => fixture.clear());
afterAll(() => fixture.close());

const request = { cpuMillis: 500, memoryBytes: 64 * MiB };
const explain = async (tenant: TenantRow, runId: string) => {
  const view = await fixture.store.runs.explanationView(tenant.id, runId, new Date());
  if (view === null) throw new Error('no such run');
  return explainRun(view, new Date());
};

it('tells a run its own tenant’s line and quota, and follows as they change', async () => {
  const tenant = await fixture.tenant({ concurrentRuns: 1 });
  const other = await fixture.tenant({ concurrentRuns: 1 });
  const node = await fixture.node();
  const held = await fixture.created(tenant, { request });
  const [low, high] = [await fixture.created(tenant, { request }), await fixture.created(tenant, { request, priority: 90 })];
  await fixture.created(other, { request, priority: 99 });
  expect(await explain(tenant, low.id)).toMatchObject({ waitingFor: 'quota', line: { place: 2, length: 2 }, estimatedStartAt: null });
  expect(await explain(tenant, high.id)).toMatchObject({
    reason: 'waits for quota: concurrentRuns: 1 requested, 1 of 1 used',
    line: { place: 1, length: 2 },
  });

  const lease = (await fixture.schedule()).get(held.id)?.lease;
  if (lease === undefined) throw new Error('not placed');
  const startedAt = new Date(Date.now() - 5000);
  await fixture.report(node.id, lease, exited({ startedAt, finishedAt: new Date(startedAt.getTime() + 4000) }));
  // The one of higher priority has the place now, and four seconds are what a run takes.
  expect(await explain(tenant, high.id)).toMatchObject({ waitingFor: 'capacity', nodes: { fitting: 1, refusals: [] } });
  const explained = await explain(tenant, low.id);
  expect(explained).toMatchObject({ waitingFor: 'quota', line: { place: 1, length: 1 } });
  expect(explained.estimatedStartAt?.getTime()).toBeGreaterThan(Date.now() - 1000);
  expect((await explain(tenant, held.id)).reason).toBe('it has ended: succeeded');
});

it('passes over what can never be admitted', async () => {
  const tenant = await fixture.tenant({ concurrentRuns: 1, cpuMillis: 1000 });
  await fixture.created(tenant, { request });
  const large = await fixture.created(tenant, { request: { ...request, cpuMillis: 900 }, priority: 90 });
  const next = await fixture.created(tenant, { request });
  await fixture.store.tenants.update(tenant.id, { quota: { ...tenant.quota, cpuMillis: 600 } });
  expect((await explain(tenant, next.id)).line).toEqual({ place: 1, length: 2 });
  expect((await explain(tenant, large.id)).reason).toContain('can never be admitted: cpuMillis: 900 requested');
});

it('counts the nodes that refuse it, whoever’s runs fill them', async () => {
  const [tenant, other] = [await fixture.tenant(), await fixture.tenant()];
  await fixture.node(1000, 4096 * MiB);
  await fixture.created(other, { request: { ...request, cpuMillis: 800 } });
  await fixture.schedule();
  const run = await fixture.created(tenant, { request });
  expect(await explain(tenant, run.id)).toMatchObject({
    waitingFor: 'capacity',
    line: { place: 1, length: 1 },
    nodes: { fitting: 0, refusals: [{ reason: 'cpuShort', nodes: 1 }] },
  });
});

describe('a quote', () => {
  const input = (tenant: TenantRow, change: Partial<QuoteInput> = {}): QuoteInput => ({
    tenantId: tenant.id,
    request,
    onQuota: 'queue',
    priority: 50,
    maxAttempts: 1,
    now: new Date(),
    ...change,
  });
  const quoted = async (tenant: TenantRow, change: Partial<QuoteInput> = {}) => {
    const outcome = await fixture.store.runs.quote(input(tenant, change));
    if (outcome.kind === 'refused') throw new Error(`refused: ${outcome.code}`);
    return explainRun(outcome.view, new Date());
  };

  it.each([
    ['at once, where there is room', {}, {}, 0],
    ['at once, behind others that await a node', {}, {}, 2],
    ['behind the line for quota', { concurrentRuns: 1 }, {}, 3],
    ['before those of lower priority', { concurrentRuns: 1 }, { priority: 90 }, 3],
    ['short of several dimensions', { concurrentRuns: 2, cpuMillis: 1000 }, { request: { ...request, cpuMillis: 900 } }, 1],
    ['with a need that no node has', {}, { needs: ['runtime:crun'] }, 0],
  ])('says what the run is told once it is submitted: %s', async (_, quota, change, before) => {
    const tenant = await fixture.tenant(quota);
    await fixture.created(await fixture.tenant(), { request });
    await fixture.node();
    for (let i = 0; i < before; i++) await fixture.created(tenant, { request });
    const said = await quoted(tenant, change);
    const run = await fixture.created(tenant, { request, ...change });
    expect(await explain(tenant, run.id)).toEqual({ ...said, estimatedStartAt: said.estimatedStartAt && expect.any(Date) });
  });

  it.each([
    ['overQuota', { concurrentRuns: 1 }, { onQuota: 'reject' as const }],
    ['overQuota', { concurrentRuns: 1, queuedRuns: 0 }, {}],
    ['overQuota', { submissionsPerMinute: 1 }, {}],
    ['quotaNeverFits', { cpuMillis: 600 }, { request: { ...request, cpuMillis: 601 } }],
  ])('is refused as the run would be: %s', async (code, quota, change) => {
    const tenant = await fixture.tenant(quota);
    await fixture.created(tenant, { request });
    const refused = await fixture.store.runs.quote(input(tenant, change));
    expect(refused).toMatchObject({ kind: 'refused', code });
    expect(await fixture.admit(tenant, { request, ...change })).toEqual(refused);
  });

  it('writes nothing', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 1 });
    const rows = async () => {
      const tables = await fixture.query<{ name: string }>("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'");
      const each = tables.map(({ name }) => `SELECT '${name}' AS name, to_jsonb(t) AS row FROM "${name}" t`);
      return fixture.query(`${each.join(' UNION ALL ')} ORDER BY 1, 2`);
    };
    const before = await rows();
    await quoted(tenant);
    await quoted(tenant, { priority: 90 });
    expect(await rows()).toEqual(before);
    await fixture.created(tenant, { request });
    expect(await rows()).not.toEqual(before);
  });
});

it('knows nothing of another tenant’s run', async () => {
  const [tenant, other] = [await fixture.tenant(), await fixture.tenant()];
  const run = await fixture.created(other, { request });
  expect(await fixture.store.runs.explanationView(tenant.id, run.id, new Date())).toBeNull();
});

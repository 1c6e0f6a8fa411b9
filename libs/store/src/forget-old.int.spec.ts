import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { exited, StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(() => fixture.clear());
afterAll(() => fixture.close());

const hourMs = 3_600_000;
const retention = { runsMs: 24 * hourMs, keysMs: 24 * hourMs };
const inHours = (hours: number) => new Date(Date.now() + hours * hourMs);
const forget = (hours: number, limit = 100, policy = retention) => fixture.store.runs.forgetOld(policy, limit, inHours(hours));

/** A run that has ended and wrote logs. */
async function ended(tenant: Awaited<ReturnType<StoreFixture['tenant']>>, key: string) {
  await fixture.node();
  const request = { cpuMillis: 100, memoryBytes: 64 * 1024 ** 2, logBytes: 1000, attemptMs: 1000 };
  const run = await fixture.created(tenant, { request, idempotency: { key, bodyHash: 'h' } });
  const placed = (await fixture.schedule()).get(run.id);
  if (placed === undefined) throw new Error('not placed');
  await fixture.report(placed.nodeId, placed.lease, exited({ logBytes: 600 }));
  return run;
}

async function expectExact(): Promise<void> {
  for (const { used, sum } of await fixture.store.tenants.recount())
    expect({ ...used, submissionsPerMinute: 0 }).toMatchObject({ ...sum, submissionsPerMinute: 0 });
}

describe('what is older than the policy', () => {
  it('is forgotten with its history and gives its log bytes back, which admits who waited for them', async () => {
    const tenant = await fixture.tenant({ logBytes: 1500 });
    const run = await ended(tenant, 'k');
    const waiting = await fixture.created(tenant, { request: { cpuMillis: 100, memoryBytes: 1024, logBytes: 1000, attemptMs: 1000 } });
    expect(await forget(23)).toEqual({ runs: 0, keys: 0, admitted: [] });
    expect(await forget(25)).toEqual({ runs: 1, keys: 1, admitted: [waiting.id] });
    expect(await fixture.store.runs.find(tenant.id, run.id)).toBeNull();
    expect(await fixture.query('SELECT FROM run_events WHERE run_id = $1', [run.id])).toEqual([]);
    await expectExact();
  });

  it('stays while the run has not ended, however old', async () => {
    const tenant = await fixture.tenant();
    const run = await fixture.created(tenant);
    expect(await forget(1000)).toMatchObject({ runs: 0 });
    expect(await fixture.store.runs.find(tenant.id, run.id)).not.toBeNull();
  });

  it('is what the tenant says, where it has a policy, and no more at a time than asked', async () => {
    const [brief, lasting] = [await fixture.tenant(), await fixture.tenant()];
    await fixture.store.tenants.update(brief.id, { retainRunsMs: hourMs });
    const changed = await fixture.store.tenants.update(lasting.id, { retainRunsMs: 100 * hourMs });
    expect(changed?.tenant).toMatchObject({ retainRunsMs: 100 * hourMs });
    for (const key of ['a', 'b', 'c']) await ended(brief, key);
    const kept = await ended(lasting, 'd');
    expect(await forget(2, 2)).toMatchObject({ runs: 2 });
    expect(await forget(2, 2)).toMatchObject({ runs: 1 });
    expect(await forget(99)).toMatchObject({ runs: 0 });
    expect(await fixture.store.runs.find(lasting.id, kept.id)).not.toBeNull();
    await fixture.store.tenants.update(lasting.id, { retainRunsMs: null });
    expect(await forget(25)).toMatchObject({ runs: 1 });
    await expectExact();
  });

  it('is an idempotency key too, which then submits anew while its run stays', async () => {
    const tenant = await fixture.tenant();
    const first = await fixture.created(tenant, { idempotency: { key: 'k', bodyHash: 'h' } });
    expect(await fixture.admit(tenant, { idempotency: { key: 'k', bodyHash: 'h' } })).toMatchObject({ kind: 'replayed' });
    expect(await forget(2, 100, { ...retention, keysMs: hourMs })).toMatchObject({ runs: 0, keys: 1 });
    const again = await fixture.created(tenant, { idempotency: { key: 'k', bodyHash: 'other' } });
    expect(again.id).not.toBe(first.id);
    expect(await fixture.store.runs.find(tenant.id, first.id)).not.toBeNull();
  });
});

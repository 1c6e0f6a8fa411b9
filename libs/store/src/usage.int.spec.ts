import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TenantRow } from './ports.js';
import { exited, MiB, StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(async () => {
  await fixture.clear();
  await fixture.node();
});
afterAll(() => fixture.close());

const request = { cpuMillis: 500, memoryBytes: 64 * MiB, logBytes: 1000, attemptMs: 60_000 };
/** A run that began at `begin` and took so many seconds. */
async function ended(tenant: TenantRow, begin: string, seconds: number, labels: Record<string, string> = {}): Promise<string> {
  const startedAt = new Date(begin);
  const run = await fixture.created(tenant, { request, labels });
  const placed = (await fixture.schedule()).get(run.id);
  if (placed === undefined) throw new Error('not placed');
  const finishedAt = new Date(startedAt.getTime() + seconds * 1000);
  await fixture.report(placed.nodeId, placed.lease, exited({ startedAt, finishedAt, logBytes: 100, cpuTimeUs: 250_000 }));
  return run.id;
}
const usage = (tenant: TenantRow | null, label: string | null = null, from = '2026-01-01', to = '2026-01-31') =>
  fixture.store.runs.usage({ tenantId: tenant?.id ?? null, from, to, label, limit: 100 });
const forgetAll = () => fixture.store.runs.forgetOld({ runsMs: 0, keysMs: 0 }, 100, new Date(Date.now() + 60_000));

describe('usage', () => {
  it('is told by the day (UTC) on which a run ended, of its own tenant alone', async () => {
    const [acme, rival] = [await fixture.tenant(), await fixture.tenant()];
    await ended(acme, '2026-01-10T23:59:58Z', 1);
    await ended(acme, '2026-01-10T23:59:58Z', 4);
    await ended(acme, '2026-01-11T12:00:00Z', 2);
    await ended(acme, '2026-02-01T00:00:00Z', 2);
    await ended(rival, '2026-01-11T12:00:00Z', 8);
    await fixture.created(acme, { request });
    const line = { tenantName: acme.name, labelValue: null, runs: 1, attempts: 1, cpuTimeUs: 250_000, logBytes: 100 };
    expect(await usage(acme)).toEqual([
      { ...line, day: '2026-01-10', runMs: 1000, reservedCpuMs: 500, reservedMemoryMibSeconds: 64 },
      {
        ...line,
        day: '2026-01-11',
        runs: 2,
        attempts: 2,
        runMs: 6000,
        cpuTimeUs: 500_000,
        reservedCpuMs: 3000,
        reservedMemoryMibSeconds: 384,
        logBytes: 200,
      },
    ]);
    expect((await usage(null)).map(({ tenantName, day, runMs }) => [tenantName, day, runMs]).sort()).toEqual(
      [
        [acme.name, '2026-01-10', 1000],
        [acme.name, '2026-01-11', 6000],
        [rival.name, '2026-01-11', 8000],
      ].sort(),
    );
    expect(await usage(acme, null, '2026-01-11', '2026-01-11')).toHaveLength(1);
  });

  it('is told by the values of a label, in which runs without it have no line', async () => {
    const tenant = await fixture.tenant();
    await ended(tenant, '2026-01-10T00:00:00Z', 1, { team: 'a', app: 'x' });
    await ended(tenant, '2026-01-10T00:00:00Z', 2, { team: 'b' });
    await ended(tenant, '2026-01-10T00:00:00Z', 4, { team: 'b' });
    await ended(tenant, '2026-01-10T00:00:00Z', 8);
    const byTeam = async () => (await usage(tenant, 'team')).map(({ labelValue, runs, runMs }) => [labelValue, runs, runMs]);
    expect(await byTeam()).toEqual([
      ['a', 1, 1000],
      ['b', 2, 6000],
    ]);
    expect(await usage(tenant, 'other')).toEqual([]);
  });

  it('counts each run once, before and after it is forgotten, deleted or followed by others', async () => {
    const [tenant, rival] = [await fixture.tenant(), await fixture.tenant()];
    const begin = '2026-01-10T10:00:00Z';
    const first = await ended(tenant, begin, 1, { team: 'a' });
    await ended(tenant, begin, 2, { team: 'a', app: 'x' });
    await ended(tenant, begin, 4);
    await ended(rival, begin, 8, { team: 'a' });
    const all = async () => [await usage(tenant), await usage(tenant, 'team'), await usage(tenant, 'app'), await usage(rival, 'team')];
    const before = await all();
    expect(before[0]).toMatchObject([{ runs: 3, runMs: 7000 }]);
    expect((await fixture.store.runs.delete(tenant.id, first, new Date())).outcome).toBe('deleted');
    expect(await all()).toEqual(before);
    expect(await forgetAll()).toMatchObject({ runs: 3 });
    expect(await all()).toEqual(before);
    await ended(tenant, begin, 16, { team: 'a' });
    expect((await all())[0]).toMatchObject([{ runs: 4, runMs: 23_000 }]);
    await forgetAll();
    expect((await all())[1]).toMatchObject([{ labelValue: 'a', runs: 3, runMs: 19_000 }]);
  });

  it('keeps a thousand values of a forgotten day’s label apart, and of others no more than the whole', async () => {
    const tenant = await fixture.tenant();
    await fixture.query(
      `INSERT INTO usage_days SELECT $1, '2026-01-10', 'id', n::text, 1, 1, 1, 1, 1, 1, 1 FROM generate_series(1, 1000) AS n`,
      [tenant.id],
    );
    for (const id of ['7', 'beyond']) await ended(tenant, '2026-01-10T00:00:00Z', 1, { id });
    await forgetAll();
    expect(await fixture.query("SELECT runs::int FROM usage_days WHERE label_key = 'id' AND label_value = '7'")).toEqual([{ runs: 2 }]);
    expect(await fixture.query("SELECT FROM usage_days WHERE label_value = 'beyond'")).toEqual([]);
    expect(await usage(tenant)).toMatchObject([{ runs: 2 }]);
  });
});

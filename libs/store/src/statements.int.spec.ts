import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { exited, reportOf, StoreFixture } from './testing.js';

/* How many statements a run costs: transactions' BEGIN and COMMIT are counted too, since each is a round trip. */

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
afterEach(() => {
  vi.restoreAllMocks();
});
afterAll(() => fixture.close());

async function statements(work: () => Promise<unknown>): Promise<number> {
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  await work();
  const count = spy.mock.calls.length;
  spy.mockRestore();
  return count;
}

describe('statements', () => {
  it('are two for an admission, two for placing a batch and five for ending it, whatever its size', async () => {
    const tenant = await fixture.tenant();
    const node = await fixture.node(100_000, 2 ** 40);
    for (const size of [1, 20]) {
      const admitted = await statements(async () => {
        for (let i = 0; i < size; i++) await fixture.created(tenant, { idempotency: { key: `${size}/${i}`, bodyHash: 'h' } });
      });
      expect(admitted).toBe(2 * size);

      let leases: Awaited<ReturnType<StoreFixture['schedule']>> = new Map();
      const placed = await statements(async () => {
        leases = await fixture.schedule();
      });
      expect(leases.size).toBe(size);
      expect(placed).toBe(2);

      const reports = [...leases.values()].flatMap(({ lease }) => [
        reportOf(lease, { kind: 'preparing' }),
        reportOf(lease, { kind: 'running', startedAt: new Date() }),
        reportOf(lease, exited()),
      ]);
      expect(await statements(() => fixture.store.runs.applyReports(node.id, reports, new Date()))).toBe(5);
    }
  });

  it('are two for all that is submitted together, by however many tenants', async () => {
    const tenants = await Promise.all(Array.from({ length: 20 }, () => fixture.tenant()));
    const submissions = tenants.flatMap((tenant) => [0, 1, 2].map((i) => ({ tenant, key: `${i}` })));
    const count = await statements(() =>
      Promise.all(submissions.map(({ tenant, key }) => fixture.created(tenant, { idempotency: { key, bodyHash: 'h' } }))),
    );
    expect(count).toBe(2);
    for (const { id } of tenants) expect((await fixture.store.tenants.find(id))?.used.concurrentRuns).toBe(3);
  });

  it('is one to read a run with its attempts, and one to answer who holds a key', async () => {
    const tenant = await fixture.tenant();
    const run = await fixture.created(tenant);
    expect(await statements(() => fixture.store.runs.find(tenant.id, run.id))).toBe(1);
    expect(await statements(() => fixture.store.runs.list(tenant.id, { limit: 10 }))).toBe(1);
    expect(await statements(() => fixture.store.apiKeys.authenticate('h', new Date()))).toBe(1);
  });
});

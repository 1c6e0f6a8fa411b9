import { type LimitDimension, quotaDimensions, runAmount } from '@berth/core';
import { eventually } from '@berth/testing';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from './open-store.js';
import type { AdmitOutcome, QuotaRow, Store, TenantRow } from './ports.js';
import { MiB, StoreFixture } from './testing.js';
import { installWatchers, violations } from './watchers.js';

/* What the store promises of concurrency, on one real Postgres with two programs at work. */

let fixture: StoreFixture;
let replica: Store;
beforeEach(async () => {
  fixture = await StoreFixture.open(20);
  replica = openStore({ url: fixture.url, poolSize: 20 });
  await installWatchers(fixture);
});
afterEach(async () => {
  await replica.close();
  await fixture.close();
});

async function expectTrueBooks(): Promise<void> {
  expect(await violations(fixture)).toEqual([]);
  for (const { used, sum } of await fixture.store.tenants.recount()) expect(used).toEqual(sum);
}

describe('concurrent submissions', () => {
  // Ten of these fit; of the other dimensions there is plenty.
  const request = { cpuMillis: 10, memoryBytes: MiB, diskBytes: 1000, pids: 3, logBytes: 700, attemptMs: 5000 };
  const amount = runAmount(request);
  const edges: [LimitDimension, Partial<QuotaRow>][] = quotaDimensions.map((d) => [d, { [d]: 10 * amount[d] + Math.floor(amount[d] / 2) }]);

  it.each([...edges, ...edges, ['concurrentRuns', { concurrentRuns: 10, cpuMillis: 100, pids: 30 }] as (typeof edges)[number]])(
    'never take an eleventh reservation where %s has room for ten, and lose none of 500',
    { timeout: 120_000 },
    async (_, quota) => {
      const queued = await fixture.tenant({ concurrentRuns: 1000, ...quota });
      const refused = await fixture.tenant({ concurrentRuns: 1000, ...quota });
      const outcomes = await Promise.all(
        Array.from({ length: 500 }, (_, i) => submit(i % 2 === 0 ? fixture.store : replica, i % 4 < 2 ? queued : refused, i)),
      );
      for (const tenant of [queued, refused]) {
        const created = outcomes.flatMap((outcome) => (outcome.kind === 'created' && outcome.run.tenantId === tenant.id ? [outcome] : []));
        expect(created.filter((outcome) => outcome.admitted.length > 0)).toHaveLength(10);
        expect(created).toHaveLength(tenant === queued ? 250 : 10);
        const stored = await fixture.query<{ total: number; held: number }>(
          'SELECT count(*) AS total, count(*) FILTER (WHERE reserved) AS held FROM runs WHERE tenant_id = $1',
          [tenant.id],
        );
        expect(stored).toEqual([{ total: created.length, held: 10 }]);
      }
      await expectTrueBooks();

      async function submit(store: Store, tenant: TenantRow, i: number): Promise<AdmitOutcome> {
        const idempotency = i % 5 === 0 ? { key: `k${i}`, bodyHash: 'h' } : null;
        const onQuota = tenant === queued ? 'queue' : 'reject';
        return fixture.admit(tenant, { idempotency, request, onQuota, now: new Date() }, store);
      }
    },
  );

  it.each([
    ['queuedRuns', { concurrentRuns: 5, queuedRuns: 20 }, 25],
    ['submissionsPerMinute', { concurrentRuns: 5, submissionsPerMinute: 20 }, 20],
  ] as const)('stop at the limit of %s, all of 500 answered', { timeout: 60_000 }, async (dimension, quota, accepted) => {
    const tenant = await fixture.tenant(quota);
    const now = new Date();
    const outcomes = await Promise.all(
      Array.from({ length: 500 }, (_, i) => fixture.admit(tenant, { now }, i % 2 === 0 ? fixture.store : replica)),
    );
    expect(outcomes.filter((outcome) => outcome.kind === 'created')).toHaveLength(accepted);
    const refusals = outcomes.filter((outcome) => outcome.kind === 'refused');
    expect(refusals).toHaveLength(500 - accepted);
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'overQuota', dimension, limit: 20, used: 20 });
    await expectTrueBooks();
  });

  it('with one key become one run', async () => {
    const tenant = await fixture.tenant();
    for (let round = 0; round < 10; round++) {
      const outcomes = await Promise.all(
        Array.from({ length: 40 }, () => fixture.admit(tenant, { idempotency: { key: `k${round}`, bodyHash: 'h' } })),
      );
      expect(outcomes.filter((outcome) => outcome.kind === 'created')).toHaveLength(1);
      const ids = outcomes.map((outcome) => (outcome.kind === 'refused' ? outcome.code : outcome.run.id));
      expect(new Set(ids).size).toBe(1);
    }
    expect((await fixture.store.tenants.find(tenant.id))?.used.concurrentRuns).toBe(10);
  });

  it('race with releases and leave no run waiting beside free quota', async () => {
    const tenant = await fixture.tenant({ concurrentRuns: 3 });
    for (let round = 0; round < 10; round++) {
      const held = await Promise.all([1, 2, 3].map(() => fixture.created(tenant)));
      await Promise.all([
        ...held.map((run) => replica.runs.cancel(tenant.id, run.id, new Date())),
        ...Array.from({ length: 10 }, () => fixture.created(tenant)),
      ]);
      const waiting = await fixture.query<{ reserved: boolean }>(`SELECT reserved FROM runs WHERE tenant_id = $1 AND state = 'queued'`, [
        tenant.id,
      ]);
      expect(waiting.filter((run) => run.reserved)).toHaveLength(3);
      const { runs } = await fixture.store.runs.list(tenant.id, { state: 'queued', limit: 200 });
      await Promise.all(runs.map((run) => fixture.store.runs.cancel(tenant.id, run.id, new Date())));
      expect((await fixture.store.tenants.find(tenant.id))?.used).toMatchObject({ concurrentRuns: 0, cpuMillis: 0, memoryBytes: 0 });
    }
    expect(await violations(fixture)).toEqual([]);
  });
});

describe('sessions that the server ends', () => {
  it('in the midst of a transaction fail what was in hand, write nothing, and leave the store usable', async () => {
    const tenant = await fixture.tenant();
    const run = await fixture.created(tenant);
    const blocker = new pg.Client({ connectionString: fixture.url });
    await blocker.connect();
    await blocker.query('BEGIN');
    await blocker.query('SELECT FROM tenants WHERE id = $1 FOR UPDATE', [tenant.id]);
    const cancelled = expect(fixture.store.runs.cancel(tenant.id, run.id, new Date())).rejects.toThrow(/terminat/);
    await eventually(async () => {
      const ended = await blocker.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      expect(ended.rowCount).toBe(1);
    });
    await cancelled;
    await blocker.query('ROLLBACK');
    await blocker.end();
    expect((await fixture.store.runs.find(tenant.id, run.id))?.state).toBe('queued');
    expect((await fixture.store.runs.cancel(tenant.id, run.id, new Date()))?.run.state).toBe('canceled');
  });
});

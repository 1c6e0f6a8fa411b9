import { isTerminal } from '@berth/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from './open-store.js';
import type { AttemptReport, LeaseRow, Store } from './ports.js';
import { exited, MiB, reportOf, StoreFixture } from './testing.js';
import { installWatchers, violations } from './watchers.js';

/* Everything at once, from several programs, with stale and repeated words of nodes among it; then quiet, and the books must agree. */

let fixture: StoreFixture;
let stores: Store[];
beforeAll(async () => {
  fixture = await StoreFixture.open();
  stores = [fixture.store, openStore({ url: fixture.url, poolSize: 5 }), openStore({ url: fixture.url, poolSize: 5 })];
  await installWatchers(fixture);
});
afterAll(async () => {
  await Promise.all(stores.slice(1).map((store) => store.close()));
  await fixture.close();
});

/** A small reproducible generator (Lehmer), so that a failing round can be run again. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

const onQuota = ['queue', 'reject', 'preempt'] as const;

const facts: readonly AttemptReport['fact'][] = [
  { kind: 'preparing' },
  { kind: 'running', startedAt: new Date() },
  { kind: 'stopping' },
  exited(),
  exited({ exitCode: 1 }),
  exited({ exitCode: null, signal: 15, stoppedBy: 'request' }),
  { kind: 'failed', failure: { code: 'imagePullFailed', message: 'no', blame: 'user' }, retryable: true },
  { kind: 'stopped' },
];

describe('the store under everything at once', () => {
  it.each([1, 2, 3])('keeps its books and its promises (seed %i)', { timeout: 120_000 }, async (seed) => {
    await fixture.clear();
    const tenants = await Promise.all([
      fixture.tenant({ concurrentRuns: 5 }),
      fixture.tenant({ cpuMillis: 700, pids: 200, logBytes: 50_000, monthlyCpuMs: 400_000 }),
    ]);
    const nodes = await Promise.all([fixture.node(500, 4096 * MiB), fixture.node(900, 4096 * MiB), fixture.node(300, 4096 * MiB)]);
    const runs: { tenantId: string; runId: string }[] = [];
    const deleted = new Set<string>();
    const leases: { nodeId: string; lease: LeaseRow }[] = [];

    const act = async (store: Store, random: (below: number) => number) => {
      const now = new Date();
      const tenant = tenants[random(tenants.length)];
      const node = nodes[random(nodes.length)];
      if (tenant === undefined || node === undefined) return;
      switch (random(8)) {
        case 0:
        case 1: {
          const change = { maxAttempts: 1 + random(3), priority: random(3), onQuota: onQuota[random(3)] ?? 'queue' } as const;
          const request = {
            cpuMillis: 50 + random(200),
            memoryBytes: MiB,
            pids: random(50),
            diskBytes: random(2) * 10,
            logBytes: random(1000),
            attemptMs: random(5000),
          };
          const outcome = await fixture.admit(tenant, { ...change, request });
          if (outcome.kind === 'created') runs.push({ tenantId: tenant.id, runId: outcome.run.id });
          return;
        }
        case 2: {
          const run = runs[random(Math.max(1, runs.length))];
          if (run === undefined) return;
          if (random(2) === 0) await store.runs.cancel(run.tenantId, run.runId, now);
          else if ((await store.runs.delete(run.tenantId, run.runId, now)).outcome === 'deleted') deleted.add(run.runId);
          return;
        }
        case 3:
          leases.push(...(await fixture.schedule(10)).values());
          return;
        case 4: {
          await store.nodes.markLost(new Date(now.getTime() + 1));
          await store.runs.releaseLost(new Date(now.getTime() + 1), now);
          await store.nodes.heartbeats([node.id], now);
          return;
        }
        case 5:
          await store.tenants.update(tenant.id, { quota: { concurrentRuns: 3 + random(5) } });
          return;
        default: {
          // Mostly true words about recent leases, some about old ones, some from the wrong node.
          const told = Array.from({ length: 1 + random(4) }, () => leases[Math.max(0, leases.length - 1 - random(8))]).filter(
            (l) => l !== undefined,
          );
          const from = random(10) === 0 ? node.id : told[0]?.nodeId;
          const reports = told.flatMap(({ lease }) => [reportOf(lease, facts[random(facts.length)] ?? exited())]);
          if (from !== undefined) await store.runs.applyReports(from, [...reports, ...reports], now);
        }
      }
    };
    await Promise.all(
      stores.flatMap((store, i) =>
        [0, 1].map(async (j) => {
          const random = generator(seed * 100 + i * 10 + j + 1);
          for (let step = 0; step < 80; step++) await act(store, random);
        }),
      ),
    );

    // Quiet: every node works off what it holds until nothing is left.
    await fixture.store.nodes.heartbeats(
      nodes.map((node) => node.id),
      new Date(),
    );
    for (const tenant of tenants)
      await fixture.store.tenants.update(tenant.id, { quota: { concurrentRuns: 5, monthlyCpuMs: 2 ** 50, logBytes: 2 ** 50 } });
    for (let round = 0; round < 500; round++) {
      await fixture.schedule();
      const held = (await Promise.all(nodes.map((node) => fixture.store.runs.leases(node.id)))).flat();
      if (held.length === 0) break;
      for (const node of nodes) {
        const mine = await fixture.store.runs.leases(node.id);
        const reports = mine.map(({ lease }) => reportOf(lease, exited()));
        await fixture.store.runs.applyReports(node.id, reports, new Date());
      }
    }

    expect(await violations(fixture)).toEqual([]);
    for (const { used, sum } of await fixture.store.tenants.recount()) {
      expect(used).toEqual(sum);
      expect(used).toMatchObject({ concurrentRuns: 0, cpuMillis: 0, memoryBytes: 0, pids: 0, diskBytes: 0, queuedRuns: 0 });
    }
    for (const node of await fixture.store.nodes.list())
      expect(node.reserved).toEqual({ cpuMillis: 0, memoryBytes: 0, diskBytes: 0, runs: 0 });
    expect(await fixture.query('SELECT sum(waiting_runs)::int AS waiting FROM tenants')).toEqual([{ waiting: 0 }]);
    for (const { tenantId, runId } of runs) {
      if (deleted.has(runId)) continue;
      const run = await fixture.store.runs.find(tenantId, runId);
      expect(run !== null && isTerminal(run.state)).toBe(true);
      expect(run?.attempts.map((attempt) => attempt.epoch)).toEqual(run?.attempts.map((attempt) => attempt.number));
      const ends = (await fixture.store.runs.events({ tenantId, runId, limit: 1000 })).filter((event) => isTerminal(event.state));
      expect(ends.map((event) => event.state)).toEqual([run?.state]);
    }
  });
});

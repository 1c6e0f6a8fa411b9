import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '@berth/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runToEnd } from './testing/agent-peer.js';
import { ServiceUnderTest } from './testing/service-under-test.js';

/*
 * Bounded here so that every test run can afford it. The long form, 20 times 500 submissions:
 *   BERTH_BURST_ROUNDS=20 BERTH_BURST_SIZE=500 npx vitest run apps/control-plane/dist/burst
 */
const rounds = Number(process.env.BERTH_BURST_ROUNDS ?? 2);
const size = Number(process.env.BERTH_BURST_SIZE ?? 120);
const quota = 10;

describe(`${size} submissions at once at a quota of ${quota}`, () => {
  let service: ServiceUnderTest;

  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres');
    const second = await service.addReplica();
    await service.agent({ cpuMillis: 100_000, memoryBytes: 1024 ** 4 });
    await service.agent({ cpuMillis: 100_000, memoryBytes: 1024 ** 4 }, second.url);
  });
  afterAll(() => service.close());

  it.each(Array.from({ length: rounds }, (_, i) => i + 1))(
    'never hold an eleventh reservation, and all finish, round %d',
    async () => {
      const tenant = await service.tenant({ concurrentRuns: quota, cpuMillis: 1_000_000, memoryBytes: 1024 ** 4 });
      let mostHeld = 0;
      for (const peer of service.peers) {
        peer.behaviour = async (self, assignment) => {
          // A peer lets go of an attempt before it reports its end, so what the nodes hold together can never exceed what is reserved.
          const held = service.peers.reduce((sum, { holds }) => sum + holds.size, 0);
          mostHeld = Math.max(mostHeld, held);
          await sleep(10);
          await runToEnd(self, assignment);
        };
      }
      let mostUsed = 0;
      let watching = true;
      const watcher = (async () => {
        while (watching) mostUsed = Math.max(mostUsed, (await service.store.tenants.find(tenant.id))?.used.concurrentRuns ?? 0);
      })();

      const urls = service.replicas.map(({ url }) => url);
      const answers = await Promise.all(
        Array.from({ length: size }, (_, i) =>
          tenant.api.at(urls[i % urls.length] ?? service.url).post('/v1/runs', { image: tenant.image, resources: { cpuMillis: 100 } }),
        ),
      );
      expect(new Set(answers.map(({ status, json }) => `${status} ${json.code ?? ''}`))).toEqual(new Set(['201 ']));
      expect(new Set(answers.map(({ json }) => json.id)).size).toBe(size);

      await eventually(
        async () => {
          const { items } = (await tenant.api.get('/v1/runs?limit=1&state=queued')).json;
          expect(items).toEqual([]);
          expect((await tenant.api.get('/v1/tenant')).json.used).toMatchObject({
            concurrentRuns: 0,
            cpuMillis: 0,
            memoryBytes: 0,
            pids: 0,
          });
        },
        { timeoutMs: 240_000, intervalMs: 250 },
      );
      watching = false;
      await watcher;
      expect(mostUsed).toBe(quota);
      expect(mostHeld).toBeLessThanOrEqual(quota);
      expect(mostHeld).toBeGreaterThan(1);
      const ended = await Promise.all(answers.map(async ({ json }) => (await tenant.api.get(`/v1/runs/${json.id}`)).json));
      expect(new Set(ended.map(({ state, attempts }) => `${state} ${attempts.length}`))).toEqual(new Set(['succeeded 1']));
      for (const { used, sum } of await service.store.tenants.recount()) expect(used).toEqual(sum);
    },
    300_000,
  );
});

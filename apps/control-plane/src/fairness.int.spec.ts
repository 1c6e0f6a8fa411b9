import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '@berth/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runToEnd } from './testing/agent-peer.js';
import { patience, ServiceUnderTest } from './testing/service-under-test.js';

describe('the service, flooded by one tenant', () => {
  let service: ServiceUnderTest;
  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres');
  });
  afterAll(() => service.close());

  it('gives every other at least nine tenths of its weighted share for as long as it has work', async () => {
    const quota = { concurrentRuns: 1000, cpuMillis: 1_000_000, memoryBytes: 2 ** 40 };
    const [flooder, even, heavy] = [await service.tenant(quota), await service.tenant(quota), await service.tenant(quota)];
    await service.admin.send('PATCH', `/v1/admin/tenants/${heavy.id}`, { weight: 200 });
    const submit = (tenant: typeof even, count: number) =>
      Promise.all(Array.from({ length: count }, () => tenant.api.post('/v1/runs', { image: tenant.image, resources: { cpuMillis: 100 } })));
    // All of it waits before there is a node, so that nobody is ahead by having come first.
    await submit(flooder, 160);
    await submit(even, 40);
    await submit(heavy, 80);
    expect((await even.api.get('/v1/fairness')).json).toMatchObject({ weight: 100, owedShare: 0.25, receivedShare: 0, awaitingRuns: 40 });

    const peer = await service.joinAgent({ cpuMillis: 800 });
    const started: string[] = [];
    peer.behaviour = async (self, assignment) => {
      started.push(assignment.tenant);
      await sleep(20);
      await runToEnd(self, assignment);
    };
    await peer.connect(service.url);
    await eventually(() => expect(started).toHaveLength(280), { ...patience, timeoutMs: 60_000 });
    // A quarter, a quarter and a half, as long as all three have work; the run lengths are equal, so runs are shares.
    const shared = started.slice(0, 120);
    const part = (name: string) => shared.filter((tenant) => tenant === name).length / shared.length;
    expect(part(even.name)).toBeGreaterThanOrEqual(0.9 * 0.25);
    expect(part(heavy.name)).toBeGreaterThanOrEqual(0.9 * 0.5);
    expect((await even.api.get('/v1/fairness')).json).toMatchObject({ receivedShare: 0, awaitingRuns: 0, worstWaitMs: 0 });
  }, 120_000);
});

import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '@berth/testing';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { CuttableProxy } from './testing/cuttable-proxy.js';
import { backends, patience, ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';

// Every test here starts a service of its own, several processes on a machine that may be busy.
const slow = { timeout: 120_000 };

let service: ServiceUnderTest;
afterEach(() => service?.close());

const submitMany = async (tenant: TestTenant, count: number, body: Record<string, unknown> = {}): Promise<string[]> => {
  const answers = await Promise.all(Array.from({ length: count }, () => tenant.api.post('/v1/runs', { image: tenant.image, ...body })));
  for (const answer of answers) expect(answer.status, answer.text).toBe(201);
  return answers.map(({ json }) => json.id);
};
const states = async (tenant: TestTenant, ids: readonly string[]): Promise<Set<string>> =>
  new Set(await Promise.all(ids.map(async (id) => (await tenant.api.get(`/v1/runs/${id}`)).json.state)));

describe.each(backends)('with the queue on %s', slow, (backend) => {
  it("finishes every run although the queue's store is emptied again and again", async () => {
    service = await ServiceUnderTest.start(backend);
    const tenant = await service.tenant({ concurrentRuns: 100, cpuMillis: 100_000, memoryBytes: 100 * 1024 ** 3 });
    const ids = await submitMany(tenant, 10);
    await empty(service);
    await service.agent();
    ids.push(...(await submitMany(tenant, 10)));
    await empty(service);
    await eventually(async () => expect(await states(tenant, ids)).toEqual(new Set(['succeeded'])), { timeoutMs: 60_000, intervalMs: 200 });
  });

  it('places by wake-ups alone, without the sweeper', async () => {
    service = await ServiceUnderTest.start(backend, { BERTH_SWEEPER: 'off' });
    const tenant = await service.tenant({ concurrentRuns: 3 });
    const before = await submitMany(tenant, 6);
    // Neither a node that comes, nor a run that ends, nor quota that comes free needs the sweeper.
    await service.agent({ cpuMillis: 1000 });
    const after = await submitMany(tenant, 6);
    await eventually(async () => expect(await states(tenant, [...before, ...after])).toEqual(new Set(['succeeded'])), {
      timeoutMs: 60_000,
      intervalMs: 200,
    });
  });

  it('reaches across replicas: placing, cancelling, waiting, following', async () => {
    service = await ServiceUnderTest.start(backend, { BERTH_SWEEP_MS: '30000' });
    const second = await service.addReplica();
    const tenant = await service.tenant();
    const peer = await service.agent({}, second.url);
    const [id = ''] = await submitMany(tenant, 1, { args: ['hold'] });
    await eventually(async () => expect(await states(tenant, [id])).toEqual(new Set(['running'])), patience);
    const following = tenant.api.events(`/v1/runs/${id}/events`);
    const waiting = tenant.api.get(`/v1/runs/${id}/wait?timeoutMs=20000`);
    expect((await tenant.api.post(`/v1/runs/${id}/cancel`)).status).toBe(200);
    expect((await waiting).json.state).toBe('canceled');
    expect((await following).at(-1)?.event).toBe('canceled');

    // The node moves to the other replica without a word to the first.
    const older = peer.control;
    await peer.connect(service.url);
    await eventually(() => expect(older?.readyState).toBe(3), patience);
    const [next = ''] = await submitMany(tenant, 1);
    await eventually(() => expect(peer.runIds).toContain(next), patience);
  });

  it('refuses a revoked key on every replica, at once where it was revoked, however lately it was used', async () => {
    service = await ServiceUnderTest.start(backend);
    const second = await service.addReplica();
    const tenant = await service.tenant();
    const other = tenant.api.at(second.url);
    for (const api of [tenant.api, other]) expect((await api.get('/v1/tenant')).status).toBe(200);
    const { json } = await service.admin.get(`/v1/admin/tenants/${tenant.id}/keys`);
    await service.admin.send('DELETE', `/v1/admin/tenants/${tenant.id}/keys/${json.items[0].id}`);
    expect((await tenant.api.get('/v1/tenant')).status).toBe(401);
    await eventually(async () => expect((await other.get('/v1/tenant')).status).toBe(401), patience);
  });

  async function empty({ redis, databaseUrl }: ServiceUnderTest): Promise<void> {
    if (redis !== null) return redis.flushAll();
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    await client.query('DROP SCHEMA IF EXISTS bullmq CASCADE');
    await client.end();
  }
});

describe('a control plane', slow, () => {
  it('places by the sweeper alone, without the queue', async () => {
    service = await ServiceUnderTest.start('postgres', { BERTH_QUEUE: 'off' });
    const tenant = await service.tenant({ concurrentRuns: 3 });
    await service.agent({ cpuMillis: 1000 });
    const ids = await submitMany(tenant, 9);
    await eventually(async () => expect(await states(tenant, ids)).toEqual(new Set(['succeeded'])), { timeoutMs: 60_000, intervalMs: 200 });
  });

  it('lives through an outage of its database, in which it refuses with a clear word', async () => {
    service = await ServiceUnderTest.start('postgres');
    const proxy = await CuttableProxy.to(service.databaseUrl);
    const replica = await service.addReplica({ BERTH_DATABASE_URL: proxy.url, BERTH_DATABASE_POOL: '3' });
    const tenant = await service.tenant();
    const peer = await service.agent({}, replica.url);
    const [held = ''] = await submitMany(tenant, 1, { args: ['hold'] });
    await eventually(async () => expect(await states(tenant, [held])).toEqual(new Set(['running'])), patience);
    const api = tenant.api.at(replica.url);

    proxy.cut();
    await eventually(async () => expect((await api.get('/readyz')).json.code).toBe('unavailable'), patience);
    const refused = await api.post('/v1/runs', { image: tenant.image });
    expect([refused.status, refused.json.code, refused.headers.has('retry-after')]).toEqual([503, 'unavailable', true]);
    expect((await api.get('/healthz')).status).toBe(200);
    const acknowledged = peer.heartbeatAcks;
    peer.exit({ runId: held, attempt: 1, epoch: 1 }, { exitCode: 5 });
    await sleep(1500);
    // What the store has not seen is not acknowledged: the node keeps its report, and its lease runs out.
    expect(peer.acks.every(({ id }) => id !== 'r3')).toBe(true);
    expect(peer.heartbeatAcks).toBeLessThanOrEqual(acknowledged + 1);

    proxy.mend();
    await eventually(async () => expect((await api.get('/readyz')).status).toBe(200), patience);
    await peer.connect(replica.url);
    expect((await api.get(`/v1/runs/${held}/wait?timeoutMs=20000`)).json).toMatchObject({ state: 'failed', exitCode: 5 });
    await replica.close();
    await proxy.close();
  });

  it('stops without losing a request or a report, and sends its nodes elsewhere', async () => {
    service = await ServiceUnderTest.start('postgres');
    const second = await service.addReplica();
    const tenant = await service.tenant({ concurrentRuns: 200, cpuMillis: 200_000, memoryBytes: 200 * 1024 ** 3 });
    const peer = await service.agent({}, second.url);
    const [held = ''] = await submitMany(tenant, 1, { args: ['hold'] });
    await eventually(async () => expect(await states(tenant, [held])).toEqual(new Set(['running'])), patience);
    const leaving = tenant.api.at(second.url);
    const waiting = leaving.get(`/v1/runs/${held}/wait?timeoutMs=60000`);
    const stream = await leaving.open('GET', '/v1/events');
    const submitted = Array.from({ length: 30 }, () => leaving.post('/v1/runs', { image: tenant.image, args: ['hold'] }));
    const answered = Promise.all(submitted);
    await submitted[0];
    peer.exit({ runId: held, attempt: 1, epoch: 1 }, { exitCode: 4 });
    await Promise.all([second.close(), second.close()]);

    const accepted = await answered;
    expect(new Set(accepted.map(({ status }) => status))).toEqual(new Set([201]));
    for (const { json } of accepted) expect((await tenant.api.get(`/v1/runs/${json.id}`)).status).toBe(200);
    expect((await waiting).status).toBe(200);
    await expect(stream.text()).rejects.toThrow();
    await eventually(() => expect(peer.closes).toMatchObject([{ code: 1012 }]), patience);
    await peer.connect(service.url);
    expect((await tenant.api.get(`/v1/runs/${held}/wait?timeoutMs=20000`)).json).toMatchObject({ state: 'failed', exitCode: 4 });
    await expect(fetch(`${second.url}/healthz`)).rejects.toThrow();
  });
});

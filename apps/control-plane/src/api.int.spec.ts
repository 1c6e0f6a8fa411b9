import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { eventually, freePort } from '@berth/testing';
import { problem } from '@berth/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { patience, ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';
import { TestClient } from './testing/test-client.js';

const unknownRun = 'run_01m84hrxq4g7c9h2rt5b16rk65';

describe('the API', () => {
  let service: ServiceUnderTest;
  let tenant: TestTenant;
  let silentRegistry: Server;

  beforeAll(async () => {
    silentRegistry = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silentRegistry, 'listening');
    const { port } = silentRegistry.address() as AddressInfo;
    service = await ServiceUnderTest.start('postgres', {
      BERTH_REGISTRY_TIMEOUT_MS: '3000',
      BERTH_INTERNAL_REGISTRIES: `http://127.0.0.1:${port},http://127.0.0.1:${await freePort()}`,
    });
    tenant = await service.tenant({ concurrentRuns: 100, cpuMillis: 50_000 });
  });
  afterAll(async () => {
    silentRegistry.closeAllConnections();
    silentRegistry.close();
    await service.close();
  });

  describe('of routes', () => {
    it('serves what it describes and describes what it serves', async () => {
      const { paths } = (await tenant.api.get('/openapi.json')).json as { paths: Record<string, Record<string, unknown>> };
      const described = Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
      );
      expect(described.sort()).toEqual(service.firstReplica.routes.list().sort());
    });

    it('answers each without a key, with an unknown and with a malformed one, with the same 401', async () => {
      for (const [method, path] of await keyedRoutes(tenant.api)) {
        for (const key of [null, `berth_${'x'.repeat(32)}`, 'nonsense', `bnode_${'x'.repeat(32)}`]) {
          const answer = await new TestClient(service.url, key).send(method, path.replace(/\{\w+\}/g, unknownRun), bodyFor(method));
          expect([method, path, answer.status, answer.json.code]).toEqual([method, path, 401, 'unauthorized']);
          expect(answer.headers.get('www-authenticate')).toContain('Bearer');
        }
      }
    });

    it('keeps the kinds of keys apart', async () => {
      for (const [method, path, tag] of await keyedRoutes(tenant.api)) {
        if (path === '/openapi.json') continue;
        const wrong = tag === 'operator' ? tenant.api : service.admin;
        const answer = await wrong.send(method, path.replace(/\{\w+\}/g, unknownRun), bodyFor(method));
        expect([method, path, answer.json.code]).toEqual([method, path, 'forbidden']);
      }
    });

    it('takes no detour around the path', async () => {
      for (const path of ['/v1//runs', '/v1/runs/', '/v1/runs/%2e%2e/tenant', '/V1/runs', '/v1/admin%2ftenants', '/v1/runs;x=1']) {
        expect([path, await rawStatus(service.url, path, tenant.key)]).toEqual([path, 404]);
      }
      expect((await tenant.api.get('/v1/runs/%')).json.code).toBe('invalidRequest');
      const wrong = await tenant.api.send('PUT', '/v1/runs');
      expect([wrong.json.code, wrong.headers.get('allow')]).toEqual(['methodNotAllowed', 'POST, GET']);
    });

    it('ends a stream whose key is revoked', async () => {
      const key = (await service.admin.post(`/v1/admin/tenants/${tenant.id}/keys`, { name: 'short' })).json;
      const stream = await new TestClient(service.url, key.secret).open('GET', '/v1/events');
      expect(stream.status).toBe(200);
      expect((await service.admin.send('DELETE', `/v1/admin/tenants/${tenant.id}/keys/${key.id}`)).status).toBe(204);
      await expect(stream.text()).rejects.toThrow();
      expect((await new TestClient(service.url, key.secret).get('/v1/tenant')).status).toBe(401);
    });
  });

  describe('of bodies', () => {
    it.each([
      ['not JSON', '{', 'invalidRequest', 'not valid JSON'],
      ['deep JSON', `${'['.repeat(40)}${']'.repeat(40)}`, 'invalidRequest', 'deeper than 32'],
      ['a prototype', '{"image":"a","__proto__":{"x":1}}', 'invalidRequest', 'not valid JSON'],
      ['nothing', '', 'invalidRequest', 'send a JSON body'],
      ['more than 1 MiB', JSON.stringify({ image: 'a'.repeat(1024 * 1024) }), 'payloadTooLarge', '1 MiB'],
    ])('refuses %s', async (_, body, code, word) => {
      const answer = await tenant.api.post('/v1/runs', body);
      expect(problem.parse(answer.json).code).toBe(code);
      expect(answer.json.detail).toContain(word);
      expect(answer.headers.get('content-type')).toContain('application/problem+json');
    });

    it('refuses other types', async () => {
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/xml']) {
        const answer = await tenant.api.post('/v1/runs', 'image=a', { 'content-type': type });
        expect([type, answer.json.code]).toEqual([type, 'unsupportedMediaType']);
      }
    });

    it('answers bytes that are no HTTP with a problem, and goes on', async () => {
      const { port } = new URL(service.url);
      const socket = connect(Number(port), '127.0.0.1');
      socket.end('GARBAGE\r\n\r\n');
      const [bytes] = (await once(socket, 'data')) as [Buffer];
      expect(String(bytes)).toMatch(/^HTTP\/1\.1 400 .*application\/problem\+json.*"invalidRequest"/s);
      expect((await tenant.api.get('/healthz')).status).toBe(200);
    });

    it('keeps a harmless request id and replaces another', async () => {
      expect((await tenant.api.get('/v1/tenant', { 'x-request-id': 'mine-1' })).headers.get('x-request-id')).toBe('mine-1');
      const answer = await tenant.api.get('/v1/runs/x', { 'x-request-id': 'a b"c' });
      expect(answer.json.requestId).toMatch(/^req_[0-9a-f]{24}$/);
      expect(answer.headers.get('x-request-id')).toBe(answer.json.requestId);
    });
  });

  describe('of admission', () => {
    const submit = (body: Record<string, unknown>, key?: string) =>
      tenant.api.post('/v1/runs', { image: tenant.image, ...body }, key === undefined ? {} : { 'idempotency-key': key });

    it('answers a retried submission with the run of the first, whatever became of its image', async () => {
      const image = `registry.berth/${tenant.name}/moving:v1`;
      await service.push(tenant.key, `${tenant.name}/moving`, 'v1', 'amd64');
      const first = await submit({ image }, 'key-1');
      expect(first.status).toBe(201);
      const again = await submit({ image }, 'key-1');
      expect([again.status, again.json.id, again.headers.get('idempotency-replayed')]).toEqual([201, first.json.id, 'true']);

      await service.push(tenant.key, `${tenant.name}/moving`, 'v1', 'arm64', 'other');
      expect((await submit({ image })).json.code).toBe('imageUnsupported');
      expect((await submit({ image }, 'key-1')).json).toMatchObject({ id: first.json.id, digest: first.json.digest });
      expect((await submit({ image, labels: { a: 'b' } }, 'key-1')).json.code).toBe('idempotencyMismatch');
      expect((await submit({ labels: { a: 'b' } }, 'key-1')).json.code).toBe('idempotencyMismatch');
      const other = await service.tenant();
      expect((await other.api.post('/v1/runs', { image: other.image }, { 'idempotency-key': 'key-1' })).json.id).not.toBe(first.json.id);
      expect((await submit({}, 'a b')).json.code).toBe('invalidRequest');
    });

    it('makes one run of many submissions with one key at once', async () => {
      const answers = await Promise.all(Array.from({ length: 10 }, () => submit({}, 'key-2')));
      expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1);
    });

    it('refuses what exceeds the quota, now or for ever, in numbers', async () => {
      const small = await service.tenant({ concurrentRuns: 1, cpuMillis: 1000 });
      const body = { image: small.image, resources: { cpuMillis: 600 } };
      expect((await small.api.post('/v1/runs', body)).status).toBe(201);
      const never = await small.api.post('/v1/runs', { ...body, resources: { cpuMillis: 1001 } });
      expect([never.status, never.json]).toMatchObject([
        403,
        { code: 'quotaNeverFits', dimension: 'cpuMillis', limit: 1000, requested: 1001 },
      ]);
      const now = await small.api.post('/v1/runs', { ...body, onQuota: 'reject' });
      expect([now.status, now.json]).toMatchObject([
        429,
        { code: 'overQuota', dimension: 'concurrentRuns', limit: 1, used: 1, requested: 1 },
      ]);
      expect(Number(now.headers.get('retry-after'))).toBeGreaterThan(0);
      const waiting = await small.api.post('/v1/runs', body);
      expect([waiting.status, waiting.json]).toMatchObject([201, { state: 'queued', waitingFor: 'quota' }]);
      const explained = await small.api.get(`/v1/runs/${waiting.json.id}/explain`);
      expect([explained.status, explained.json]).toMatchObject([
        200,
        {
          waitingFor: 'quota',
          line: { place: 1, length: 1 },
          shortages: [{ dimension: 'concurrentRuns', requested: 1 }, { dimension: 'cpuMillis' }],
          nodes: null,
        },
      ]);
      expect((await small.api.get('/v1/tenant')).json.used).toMatchObject({ concurrentRuns: 1, cpuMillis: 600 });

      // Room that comes with a larger quota is given at once, and with a cancelled run as well.
      await service.admin.send('PATCH', `/v1/admin/tenants/${small.id}`, { quota: { concurrentRuns: 2, cpuMillis: 1200 } });
      expect((await small.api.get(`/v1/runs/${waiting.json.id}`)).json.waitingFor).not.toBe('quota');
      const third = (await small.api.post('/v1/runs', body)).json;
      expect(third.waitingFor).toBe('quota');
      await small.api.post(`/v1/runs/${waiting.json.id}/cancel`);
      expect((await small.api.get(`/v1/runs/${third.id}`)).json.waitingFor).not.toBe('quota');
    });

    it('quotes a run that it does not submit', async () => {
      const small = await service.tenant({ concurrentRuns: 1 });
      const body = { image: small.image, timeoutMs: 60_000, stopGraceMs: 0, resources: { cpuMillis: 500, memoryBytes: 64 * 1024 ** 2 } };
      const free = await small.api.post('/v1/runs', { ...body, dryRun: true }, { 'idempotency-key': 'quoted' });
      expect([free.status, free.json]).toMatchObject([
        200,
        {
          image: small.image,
          digest: small.digest,
          waitingFor: 'capacity',
          line: { place: 1, length: 1 },
          cost: { monthlyCpuMs: 30_000, monthlyMemoryMibSeconds: 64 * 60 },
          pull: { layers: 1 },
        },
      ]);
      expect(free.json.pull.bytes).toBeGreaterThan(0);
      expect((await small.api.get('/v1/runs')).json.items).toEqual([]);

      const { json: run } = await small.api.post('/v1/runs', { ...body, dryRun: false }, { 'idempotency-key': 'quoted' });
      expect(run.spec).toEqual(free.json.spec);
      const full = await small.api.post('/v1/runs', { ...body, dryRun: true });
      expect([full.status, full.json.waitingFor, full.json.shortages[0]]).toMatchObject([200, 'quota', { dimension: 'concurrentRuns' }]);
      expect((await small.api.post('/v1/runs', { ...body, dryRun: true, onQuota: 'reject' })).json.code).toBe('overQuota');
      expect((await small.api.post('/v1/runs', { ...body, dryRun: true, image: `${small.image}x` })).json.code).toBe('imageNotFound');
      expect((await small.api.post('/v1/runs', { ...body, dryRun: 'yes' })).json.errors[0].field).toBe('dryRun');
      expect((await small.api.get('/v1/runs')).json.items.map(({ id }: { id: string }) => id)).toEqual([run.id]);
    });

    it('tells what ended runs used, as JSON and as CSV', async () => {
      const small = await service.tenant();
      const { json: run } = await small.api.post('/v1/runs', { image: small.image, labels: { team: 'a, b' } });
      await small.api.post(`/v1/runs/${run.id}/cancel`);
      const today = new Date().toISOString().slice(0, 10);
      const line = { day: today, tenant: small.name, runs: 1, attempts: 0, cpuTimeMs: 0, logBytes: 0 };
      const whole = await small.api.get('/v1/usage');
      expect([whole.status, whole.json]).toMatchObject([
        200,
        { from: `${today.slice(0, 7)}-01`, to: today, label: null, items: [{ ...line, labelValue: null }] },
      ]);
      expect((await small.api.get('/v1/usage?label=team')).json.items).toMatchObject([{ ...line, labelValue: 'a, b' }]);
      const csv = await fetch(`${service.url}/v1/usage?label=team&format=csv`, { headers: { authorization: `Bearer ${small.key}` } });
      expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8');
      expect((await csv.text()).split('\r\n')[1]).toBe(`${today},${small.name},1,0,0,0,0,0,0,"a, b"`);
      const all = (await service.admin.get(`/v1/admin/usage?from=${today}`)).json.items;
      expect(all.filter(({ tenant }: { tenant: string }) => tenant === small.name)).toMatchObject([line]);

      for (const [query, field] of [
        ['from=2026-02-30', 'from'],
        ['from=2026-02-02&to=2026-02-01', 'to'],
        ['from=2024-01-01&to=2026-02-01', 'from'],
        ['label=a%20b', 'label'],
        ['format=xml', 'format'],
      ] as const) {
        const refused = await small.api.get(`/v1/usage?${query}`);
        expect([query, refused.status, refused.json.errors?.[0]?.field]).toEqual([query, 400, field]);
      }
    });

    it('holds a tenant to digests where its policy says so', async () => {
      await service.admin.send('PATCH', `/v1/admin/tenants/${tenant.id}`, { requireDigest: true });
      expect((await submit({})).json.code).toBe('tagNotAllowed');
      expect((await submit({ image: `registry.berth/${tenant.name}/app@${tenant.digest}` })).status).toBe(201);
      await service.admin.send('PATCH', `/v1/admin/tenants/${tenant.id}`, { requireDigest: false });
    });

    it('gives other runtimes to tenants that may use them alone', async () => {
      expect((await submit({ runtimeClass: 'runsc' })).json).toMatchObject({
        code: 'featureNotAllowed',
        errors: [{ field: 'runtimeClass', message: expect.stringContaining('runtime:runsc') }],
      });
      await service.admin.send('PATCH', `/v1/admin/tenants/${tenant.id}`, { features: ['runtime:runsc'] });
      expect((await submit({ runtimeClass: 'runc' })).json.code).toBe('featureNotAllowed');
      expect((await submit({ network: 'egress' })).json).toMatchObject({ code: 'featureNotAllowed', errors: [{ field: 'network' }] });
      expect((await submit({ runtimeClass: 'runsc' })).json).toMatchObject({ spec: { runtimeClass: 'runsc' } });
      expect((await submit({})).json).toMatchObject({ spec: { runtimeClass: 'berth', network: 'none' } });
      await service.admin.send('PATCH', `/v1/admin/tenants/${tenant.id}`, { features: ['network:egress'] });
      expect((await submit({})).json).toMatchObject({ spec: { network: 'egress' } });
      expect((await submit({ network: 'egress', runtimeClass: 'runsc' })).json).toMatchObject({
        code: 'invalidRequest',
        errors: [{ field: 'network' }],
      });
      expect((await submit({ network: 'none' })).json).toMatchObject({ spec: { network: 'none' } });
      await service.admin.send('PATCH', `/v1/admin/tenants/${tenant.id}`, { features: [] });
    });

    it("answers another tenant's image exactly as an unknown one", async () => {
      const other = await service.tenant();
      const [theirs, nobodys] = await Promise.all([other.image, other.image.replace('app', 'none')].map((image) => submit({ image })));
      expect(theirs?.status).toBe(422);
      expect(nobodys?.text.replace('none', 'app').replace(nobodys.json.requestId, '')).toBe(
        theirs?.text.replace(theirs.json.requestId, ''),
      );
      const own = await submit({ image: tenant.image.replace('app', 'none') });
      expect([own.status, own.json.code]).toEqual([422, 'imageNotFound']);
    });

    it.each([
      ['Not An Image', 'invalidImage'],
      ['registry.berth/x/y@sha256:1', 'invalidImage'],
      ['169.254.169.254/a/b', 'imageUnauthorized'],
      ['localhost:1/a/b', 'imageUnauthorized'],
      ['[::1]:80/a/b', 'imageUnauthorized'],
    ])('refuses the image %s', async (image, code) => {
      expect((await submit({ image })).json.code).toBe(code);
    });

    it('tells within its bound that a registry is away or silent', async () => {
      for (const origin of service.firstReplica.config.registry.internalOrigins) {
        const before = performance.now();
        const answer = await submit({ image: `${new URL(origin).host}/a/b:1` });
        expect([answer.status, answer.json.code]).toEqual([503, 'registryUnavailable']);
        expect(performance.now() - before).toBeLessThan(6000);
      }
    });

    it('keeps pages of runs apart by a cursor that only it can give', async () => {
      const first = (await tenant.api.get('/v1/runs?limit=2')).json;
      expect(first.items).toHaveLength(2);
      const second = (await tenant.api.get(`/v1/runs?limit=2&cursor=${first.nextCursor}`)).json;
      expect(second.items[0].id < first.items[1].id).toBe(true);
      expect((await tenant.api.get('/v1/runs?cursor=abc')).json.code).toBe('invalidRequest');
      expect((await tenant.api.get('/v1/runs?limit=0&limit=5')).json.code).toBe('invalidRequest');
      expect((await tenant.api.get('/v1/runs?label=x')).json.code).toBe('invalidRequest');
      expect((await tenant.api.get('/v1/runs?nonsense=1')).json.code).toBe('unsupportedField');
    });
  });

  it('cuts a reader of a stream who goes away', async () => {
    const before = (await metric(service, 'berth_open_streams')) ?? 0;
    const outgoing = request(`${service.url}/v1/events`, { headers: { authorization: `Bearer ${tenant.key}` } }).end();
    await once(outgoing, 'response');
    expect(await metric(service, 'berth_open_streams')).toBe(before + 1);
    outgoing.destroy();
    await eventually(async () => expect(await metric(service, 'berth_open_streams')).toBe(before), patience);
  });
});

/** The status of a path that is sent as it stands; fetch would normalise it first. */
async function rawStatus(url: string, path: string, key: string): Promise<number | undefined> {
  const { hostname, port } = new URL(url);
  const outgoing = request({ hostname, port, path, headers: { authorization: `Bearer ${key}` } }).end();
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  incoming.resume();
  return incoming.statusCode;
}

async function metric(service: ServiceUnderTest, name: string): Promise<number | undefined> {
  const text = await (await fetch(`${service.firstReplica.adminUrl}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

/** Method, path and tag of every route that asks for a key, as the service itself describes them. */
async function keyedRoutes(api: TestClient): Promise<[string, string, string][]> {
  const { paths } = (await api.get('/openapi.json')).json as {
    paths: Record<string, Record<string, { security: unknown[]; tags: string[] }>>;
  };
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations)
      .filter(([, { security }]) => security.length > 0)
      .map(([method, { tags }]): [string, string, string] => [method.toUpperCase(), path, tags[0] ?? '']),
  );
}

function bodyFor(method: string): unknown {
  return method === 'POST' || method === 'PATCH' ? {} : undefined;
}

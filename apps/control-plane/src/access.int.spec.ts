import { randomBytes } from 'node:crypto';
import { newSecret, secretRandomBytes } from '@berth/core';
import { eventually } from '@berth/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { patience, ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';
import { TestClient } from './testing/test-client.js';

interface Route {
  readonly method: string;
  readonly path: string;
  readonly scope: string;
  readonly isOperators: boolean;
}

const unknown: Readonly<Record<string, string>> = { run: 'run', ten: 'ten', node: 'node', key: 'key', mem: 'mem' };

describe('keys', () => {
  let service: ServiceUnderTest;
  let tenant: TestTenant;

  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres');
    tenant = await service.tenant();
  });
  afterAll(() => service.close());

  /** A key of the tenant's, or of the operator's, that opens what is asked for. */
  const keyWith = async (body: Record<string, unknown>, isOperators = false): Promise<TestClient> => {
    const path = isOperators ? '/v1/admin/keys' : `/v1/admin/tenants/${tenant.id}/keys`;
    const made = await service.admin.post(path, { name: 'test', ...body });
    expect([body, made.status]).toEqual([body, 201]);
    return new TestClient(service.url, made.json.secret);
  };

  const scopedRoutes = async (): Promise<Route[]> => {
    const { paths } = (await tenant.api.get('/openapi.json')).json as {
      paths: Record<
        string,
        Record<string, { tags: string[]; 'x-berth-scope'?: string; parameters: { name: string; schema: { pattern?: string } }[] }>
      >;
    };
    return Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).flatMap(([method, { tags, 'x-berth-scope': scope, parameters }]) => {
        const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
          const prefix = /^\^(\w+?)_/.exec(parameters.find((one) => one.name === name)?.schema.pattern ?? '')?.[1] ?? '';
          return unknown[prefix] === undefined ? 'x' : `${prefix}_01m84hrxq4g7c9h2rt5b16rk65`;
        });
        return scope === undefined ? [] : [{ method: method.toUpperCase(), path: filled, scope, isOperators: tags[0] === 'operator' }];
      }),
    );
  };

  it('open the routes of their scopes and no others', async () => {
    const routes = await scopedRoutes();
    expect(routes.length).toBeGreaterThan(25);
    const scopes = [...new Set(routes.map(({ scope, isOperators }) => `${isOperators} ${scope}`))];
    for (const one of scopes) {
      const [whose, scope] = one.split(' ');
      const isOperators = whose === 'true';
      const without = (await keyWith({ role: 'admin' }, isOperators).then((key) => key.get('/openapi.json'))).status;
      expect(without).toBe(200);
      const others = scopes
        .map((each) => each.split(' '))
        .filter(([w, s]) => w === whose && s !== scope)
        .map(([, s]) => s);
      const closed = await keyWith({ role: 'admin', scopes: others }, isOperators);
      for (const { method, path } of routes.filter((route) => route.scope === scope && route.isOperators === isOperators)) {
        const answer = await closed.send(method, path, method === 'POST' || method === 'PATCH' ? {} : undefined);
        expect([method, path, answer.status, answer.json.code, answer.json.scope]).toEqual([method, path, 403, 'forbidden', scope]);
      }
    }
  });

  it('of a reader read and of a submitter submit', async () => {
    const reader = await keyWith({ role: 'reader' });
    expect((await reader.get('/v1/runs')).status).toBe(200);
    expect((await reader.post('/v1/runs', { image: tenant.image })).json).toMatchObject({ code: 'forbidden', scope: 'runs:write' });
    const submitter = await keyWith({ role: 'submitter' });
    expect((await submitter.post('/v1/runs', { image: tenant.image })).status).toBe(201);
    expect((await submitter.get('/v1/audit')).json.scope).toBe('audit:read');
    await expect(service.push(reader.key as string, `${tenant.name}/no`, 'v1', 'amd64')).rejects.toThrow();
  });

  it('give no more than they open, nor for longer', async () => {
    const admin = await keyWith({ role: 'admin' });
    const narrow = await keyWith({
      role: 'admin',
      scopes: ['keys:write', 'keys:read'],
      expiresAt: new Date(Date.now() + 60_000).toISOString(),
    });
    const full = (await admin.post('/v1/keys', { name: 'full', role: 'admin' })).json;
    expect((await narrow.post('/v1/keys', { name: 'x', role: 'admin' })).json).toMatchObject({ code: 'forbidden', scope: 'runs:read' });
    expect((await narrow.post(`/v1/keys/${full.id}/rotate`, {})).json.code).toBe('forbidden');
    expect((await narrow.post('/v1/members', { name: 'x', role: 'admin' })).json.code).toBe('forbidden');
    const same = { name: 'x', role: 'admin', scopes: ['keys:read'] };
    expect((await narrow.post('/v1/keys', same)).json.detail).toContain('expiresAt no later than');
    const made = await narrow.post('/v1/keys', { ...same, expiresAt: new Date(Date.now() + 30_000).toISOString() });
    expect([made.status, made.json.scopes]).toEqual([201, ['keys:read']]);
    expect((await service.admin.post('/v1/admin/keys', { name: 'x', role: 'submitter' })).json.errors[0].field).toBe('role');
    expect((await admin.post('/v1/keys', { name: 'x', role: 'reader', scopes: ['runs:write'] })).json.errors[0].field).toBe('scopes');
  });

  it('are rotated without a moment in which neither works', async () => {
    const old = (await service.admin.post(`/v1/admin/tenants/${tenant.id}/keys`, { name: 'app' })).json;
    const rotated = await service.admin.post(`/v1/admin/tenants/${tenant.id}/keys/${old.id}/rotate`, { overlapMs: 1500 });
    expect(rotated.json).toMatchObject({ name: 'app', role: 'submitter', scopes: old.scopes });
    const [before, after] = [old.secret, rotated.json.secret].map((secret) => new TestClient(service.url, secret));
    const stream = await (before as TestClient).open('GET', '/v1/events');
    expect([(await before?.get('/v1/runs'))?.status, (await after?.get('/v1/runs'))?.status]).toEqual([200, 200]);
    // The stream of the old key ends with it, though nobody asked anything.
    await expect(stream.text()).rejects.toThrow();
    expect([(await before?.get('/v1/runs'))?.status, (await after?.get('/v1/runs'))?.status]).toEqual([401, 200]);
  });

  it('of a member follow its role and end with it, open streams included', async () => {
    const admin = await keyWith({ role: 'admin' });
    const member = (await admin.post('/v1/members', { name: 'ann', role: 'submitter' })).json;
    const ann = new TestClient(
      service.url,
      (await admin.post('/v1/keys', { name: 'laptop', role: 'admin', memberId: member.id })).json.secret,
    );
    expect((await ann.get('/v1/keys')).json.scope).toBe('keys:read');
    await admin.send('PATCH', `/v1/members/${member.id}`, { role: 'admin' });
    expect((await ann.get('/v1/keys')).json.items.map((key: { name: string }) => key.name)).toContain('laptop');
    const stream = await ann.open('GET', '/v1/events');
    expect((await admin.send('DELETE', `/v1/members/${member.id}`)).status).toBe(204);
    expect((await ann.get('/v1/runs')).status).toBe(401);
    await expect(stream.text()).rejects.toThrow();
    expect((await admin.get('/v1/members')).json.items).toEqual([]);
    expect((await admin.send('DELETE', `/v1/members/${member.id}`)).status).toBe(404);
  });

  it('leave who did what in the log, which shows a tenant neither the operator nor another tenant', async () => {
    const other = await service.tenant();
    const admin = await keyWith({ role: 'admin' });
    const made = await admin.post('/v1/keys', { name: 'logged' }, { 'x-request-id': 'mine-7' });
    const { items } = (await admin.get('/v1/audit?limit=2')).json;
    expect(items[0]).toMatchObject({
      action: 'key.create',
      target: made.json.id,
      actor: { owner: 'tenant', name: 'test' },
      requestId: 'mine-7',
      details: { name: 'logged', role: 'submitter' },
    });
    expect(items[1]).toMatchObject({ action: 'key.create', actor: { owner: 'operator', name: 'operator', keyId: null }, requestId: null });
    const all = (await admin.get('/v1/audit?limit=200')).text;
    expect(all).not.toContain(other.id);
    expect(all).not.toContain(made.json.secret);
    const first = (await service.admin.get('/v1/admin/audit?limit=3')).json;
    const second = (await service.admin.get(`/v1/admin/audit?limit=3&cursor=${first.nextCursor}`)).json;
    expect(BigInt(second.items[0].id) < BigInt(first.items[2].id)).toBe(true);
    expect((await service.admin.get('/v1/admin/audit?cursor=x')).json.errors[0].field).toBe('cursor');
  });

  it('of the environment are replaced by the next, and cannot come back', async () => {
    const next = newSecret('berth', randomBytes(secretRandomBytes));
    const listed = (await service.admin.get('/v1/admin/keys')).json.items as { id: string; name: string }[];
    const own = listed.find(({ name }) => name === 'admin');
    expect((await service.admin.post(`/v1/admin/keys/${own?.id}/rotate`, {})).json.code).toBe('conflict');
    await service.addReplica({ BERTH_ADMIN_KEY: next });
    await eventually(async () => expect((await service.admin.get('/v1/admin/tenants')).status).toBe(401), patience);
    expect((await new TestClient(service.url, next).get('/v1/admin/tenants')).status).toBe(200);
    await expect(service.addReplica()).rejects.toThrow('replaced or revoked');
  });
});

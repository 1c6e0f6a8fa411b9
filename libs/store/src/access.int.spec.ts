import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Actor } from './ports.js';
import { StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
afterAll(() => fixture.close());

const by: Actor = { keyId: 'key_x', name: 'ann', owner: 'tenant', requestId: 'req_1' };
const inAnHour = () => new Date(Date.now() + 3_600_000);

describe('the audit log', () => {
  it('can only grow, whoever writes to the database', async () => {
    await fixture.tenant();
    expect((await fixture.store.audit.list({ limit: 10 })).length).toBeGreaterThan(0);
    for (const statement of [
      'UPDATE audit_entries SET actor_name = $1',
      'DELETE FROM audit_entries WHERE actor_name <> $1',
      "SET session_replication_role = 'replica'; DELETE FROM audit_entries",
      'TRUNCATE audit_entries',
      'TRUNCATE tenants, audit_entries CASCADE',
    ])
      await expect(fixture.query(statement, statement.includes('$1') ? ['eve'] : [])).rejects.toThrow('append-only');
  });

  it('says who did what, newest first, of one tenant alone', async () => {
    const [tenant, other] = [await fixture.tenant(), await fixture.tenant()];
    const { apiKeys, audit } = fixture.store;
    const key = await apiKeys.create({ tenantId: tenant.id, name: 'k', hash: 'secret-hash', expiresAt: null }, by);
    await apiKeys.create({ tenantId: other.id, name: 'k', hash: 'other-hash', expiresAt: null }, by);
    await apiKeys.revoke(tenant.id, key.id, by);
    const entries = await audit.list({ tenantId: tenant.id, limit: 10 });
    expect(entries.map(({ action, target, actor }) => [action, target, actor.name])).toEqual([
      ['key.revoke', key.id, 'ann'],
      ['key.create', key.id, 'ann'],
      ['tenant.create', tenant.id, 'berth'],
    ]);
    expect(JSON.stringify(entries, (_, value) => (typeof value === 'bigint' ? String(value) : value))).not.toContain('secret-hash');
    const [first, second] = entries;
    expect(await audit.list({ tenantId: tenant.id, limit: 1, before: first?.id ?? 0n })).toEqual([second]);
  });

  it('has no entry of a change that was not made', async () => {
    const tenant = await fixture.tenant();
    const before = await fixture.store.audit.list({ limit: 1 });
    expect(await fixture.store.apiKeys.revoke(tenant.id, 'key_none', by)).toBe(false);
    expect(await fixture.store.nodes.setState('node_none', 'dead', by)).toBeNull();
    await expect(fixture.store.tenants.create({ name: tenant.name, quota: {}, requireDigest: false }, by)).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(await fixture.store.tenants.update('ten_none', {}, by)).toBeNull();
    expect(await fixture.store.audit.list({ limit: 1 })).toEqual(before);
  });
});

describe('a rotated key', () => {
  it('goes on beside its successor until the overlap is over', async () => {
    const tenant = await fixture.tenant();
    const { apiKeys } = fixture.store;
    const input = { tenantId: tenant.id, name: 'k', role: 'reader', scopes: ['runs:read'], expiresAt: null } as const;
    const old = await apiKeys.create({ ...input, hash: 'r1' });
    const end = inAnHour();
    const successor = await apiKeys.rotate(tenant.id, old.id, { hash: 'r2', expiresAt: null, oldExpiresAt: end }, by);
    expect(successor).toMatchObject({ name: 'k', role: 'reader', scopes: ['runs:read'], expiresAt: null });
    expect((await apiKeys.authenticate('r1', new Date()))?.key.expiresAt).toEqual(end);
    expect(await apiKeys.authenticate('r1', end)).toBeNull();
    expect((await apiKeys.authenticate('r2', end))?.key.id).toBe(successor?.id);
    await apiKeys.rotate(tenant.id, old.id, { hash: 'r3', expiresAt: null, oldExpiresAt: new Date(end.getTime() + 1000) });
    expect((await apiKeys.find(tenant.id, old.id))?.expiresAt).toEqual(end);
    await apiKeys.revoke(tenant.id, old.id);
    expect(await apiKeys.rotate(tenant.id, old.id, { hash: 'r4', expiresAt: null, oldExpiresAt: end })).toBeNull();
    expect(await apiKeys.rotate('ten_none', successor?.id ?? '', { hash: 'r5', expiresAt: null, oldExpiresAt: end })).toBeNull();
  });
});

describe("the environment's key", () => {
  it('is adopted once by replicas that start together, and revoked by the next', async () => {
    const { apiKeys } = fixture.store;
    const made = await apiKeys.create({ tenantId: null, name: 'made', hash: 'api', expiresAt: null });
    const first = await Promise.all([1, 2, 3].map(() => apiKeys.adoptEnvironmentKey('e1')));
    expect(first.sort()).toEqual(['adopted', 'known', 'known']);
    expect((await apiKeys.authenticate('e1', new Date()))?.key).toMatchObject({ tenantId: null, role: 'admin', source: 'environment' });
    expect(await apiKeys.adoptEnvironmentKey('e2')).toBe('adopted');
    expect(await apiKeys.authenticate('e1', new Date())).toBeNull();
    expect(await apiKeys.adoptEnvironmentKey('e1')).toBe('revoked');
    expect((await apiKeys.authenticate('api', new Date()))?.key.id).toBe(made.id);
  });
});

describe('a member', () => {
  it("bounds its keys, and takes them along when it is removed; another tenant's is nobody", async () => {
    const [tenant, other] = [await fixture.tenant(), await fixture.tenant()];
    const { members, apiKeys } = fixture.store;
    const ann = await members.create(tenant.id, { name: 'ann', role: 'operator' }, by);
    await expect(members.create(tenant.id, { name: 'ann', role: 'reader' })).rejects.toMatchObject({ code: 'conflict' });
    const input = { name: 'k', role: 'admin', memberId: ann.id, expiresAt: null } as const;
    await apiKeys.create({ ...input, tenantId: tenant.id, hash: 'm1' });
    await expect(apiKeys.create({ ...input, tenantId: other.id, hash: 'm2' })).rejects.toMatchObject({ code: 'invalidRequest' });
    expect((await apiKeys.authenticate('m1', new Date()))?.key).toMatchObject({ role: 'admin', memberRole: 'operator' });
    await members.update(tenant.id, ann.id, 'reader', by);
    expect((await apiKeys.authenticate('m1', new Date()))?.key.memberRole).toBe('reader');
    expect(await members.update(other.id, ann.id, 'admin', by)).toBeNull();
    expect(await members.remove(other.id, ann.id, by)).toBe(false);
    expect(await members.remove(tenant.id, ann.id, by)).toBe(true);
    expect(await apiKeys.authenticate('m1', new Date())).toBeNull();
    await expect(apiKeys.create({ ...input, tenantId: tenant.id, hash: 'm3' })).rejects.toMatchObject({ code: 'invalidRequest' });
    expect(await members.list(tenant.id)).toEqual([]);
    expect((await members.create(tenant.id, { name: 'ann', role: 'reader' })).id).not.toBe(ann.id);
  });
});

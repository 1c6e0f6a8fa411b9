import { limitDimensions } from '@berth/core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { QuotaRow } from './ports.js';
import { StoreFixture } from './testing.js';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(() => fixture.clear());
afterAll(() => fixture.close());

const quota = amounts(2 ** 40, { concurrentRuns: 5, cpuMillis: 1000, memoryBytes: 2 ** 50 });

function amounts(all: number, some: Partial<QuotaRow>): QuotaRow {
  return { ...(Object.fromEntries(limitDimensions.map((dimension) => [dimension, all])) as QuotaRow), ...some };
}

describe('tenants', () => {
  it('are made, found and changed; a taken name is a conflict', async () => {
    const { tenants } = fixture.store;
    const tenant = await tenants.create({ name: 'acme', quota, requireDigest: false });
    expect(tenant).toMatchObject({ name: 'acme', quota, used: amounts(0, {}), runLimits: { defaults: {}, maxima: {} } });
    await expect(tenants.create({ name: 'acme', quota, requireDigest: false })).rejects.toMatchObject({ code: 'conflict' });
    expect(await tenants.find(tenant.id)).toEqual(tenant);
    expect(await tenants.findByName('acme')).toEqual(tenant);
    expect(await tenants.findByName('other')).toBeNull();
    const changed = await tenants.update(tenant.id, { quota: { cpuMillis: 7 }, requireDigest: true });
    expect(changed?.tenant).toMatchObject({ quota: { ...quota, cpuMillis: 7 }, requireDigest: true });
    expect(await tenants.update('ten_x', {})).toBeNull();
    expect(await tenants.list()).toEqual([changed?.tenant]);
  });
});

describe('API keys', () => {
  it('open their tenant until they expire or are revoked', async () => {
    const { apiKeys } = fixture.store;
    const tenant = await fixture.tenant();
    const now = new Date();
    const key = await apiKeys.create({ tenantId: tenant.id, name: 'k', hash: 'a', expiresAt: new Date(now.getTime() + 1000) });
    await apiKeys.create({ tenantId: null, name: 'admin', hash: 'b', expiresAt: null });
    expect(await apiKeys.authenticate('a', now)).toEqual({ key, tenant });
    expect(await apiKeys.authenticate('b', now)).toMatchObject({ key: { tenantId: null }, tenant: null });
    expect(await apiKeys.authenticate('c', now)).toBeNull();
    expect(await apiKeys.authenticate('a', new Date(now.getTime() + 1000))).toBeNull();
    const other = await fixture.tenant();
    expect(await apiKeys.revoke(other.id, key.id)).toBe(false);
    expect(await apiKeys.authenticate('a', now)).not.toBeNull();
    expect(await apiKeys.revoke(tenant.id, key.id)).toBe(true);
    expect(await apiKeys.authenticate('a', now)).toBeNull();
    const [revoked] = await apiKeys.list(tenant.id);
    expect(revoked?.revokedAt).toBeInstanceOf(Date);
    expect(await apiKeys.revoke(tenant.id, key.id)).toBe(true);
    expect(await apiKeys.list(tenant.id)).toEqual([revoked]);
  });
});

describe('the store', () => {
  it('answers a ping, and history across runs in order once it has settled', async () => {
    await fixture.store.ping();
    const tenant = await fixture.tenant();
    for (let i = 0; i < 3; i++) await fixture.created(tenant);
    expect(await fixture.store.runs.events({ tenantId: tenant.id, limit: 100 })).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const events = await fixture.store.runs.events({ tenantId: tenant.id, limit: 4 });
    expect(events.map((event) => event.type)).toEqual(['created', 'admitted', 'created', 'admitted']);
    const rest = await fixture.store.runs.events({ tenantId: tenant.id, after: events[3]?.id ?? 0n, limit: 100 });
    expect(rest).toHaveLength(2);
  });
});

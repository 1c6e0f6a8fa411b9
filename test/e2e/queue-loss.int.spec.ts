import { type RedisServer, startRedis } from '@berth/testing';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { TestService, type TestTenant } from '../support/service.js';

/** Queues runs while no node is there, lets `disturb` happen, then lets an agent come: every run must finish. */
async function finishAfter(test: TestService, tenant: TestTenant, disturb: () => Promise<void>): Promise<void> {
  const ids = await Promise.all(Array.from({ length: 15 }, async (_, index) => (await tenant.sh(`exit ${index % 3}`)).id));
  await disturb();
  await test.service.startAgent({ name: 'late', metricsPort: 0 });
  const ended = await Promise.all(ids.map((id) => tenant.ended(id)));
  expect(ended.map(({ exitCode }) => exitCode)).toEqual(ids.map((_, index) => index % 3));
}

describe('losing the queue', () => {
  const running: { stop(): Promise<void> }[] = [];
  const keep = <T extends { stop(): Promise<void> }>(one: T): T => {
    running.unshift(one);
    return one;
  };
  afterEach(async () => {
    for (const one of running.splice(0)) await one.stop();
  });

  it('with BullMQ on Postgres emptied, loses no run', async () => {
    const test = keep(await TestService.start({ agents: [] }));
    const tenant = await test.tenant('bull-postgres');
    await finishAfter(test, tenant, () => emptyBullTables(test.service.databaseUrl));
  });

  it('with BullMQ on Redis emptied, loses no run', async () => {
    const redis = keep(await startRedis());
    const test = keep(await TestService.start({ agents: [], env: { BERTH_REDIS_URL: redis.url } }));
    const tenant = await test.tenant('bull-redis');
    await finishAfter(test, tenant, () => redis.flushAll());
  });

  it('with Redis gone and back, loses no run', async () => {
    const redis: RedisServer = keep(await startRedis());
    const test = keep(await TestService.start({ agents: [], env: { BERTH_REDIS_URL: redis.url } }));
    const tenant = await test.tenant('redis-away');
    await finishAfter(test, tenant, async () => {
      await redis.stop();
      expect((await tenant.sh('true')).state).toBe('queued');
      await redis.start();
    });
  });

  it('with the sweeper alone, finishes every run', async () => {
    const test = keep(await TestService.start({ agents: [], env: { BERTH_QUEUE: 'off' } }));
    await finishAfter(test, await test.tenant('sweeper-alone'), async () => {});
  });

  it('with wake-ups alone, finishes every run', async () => {
    const test = keep(await TestService.start({ agents: [{ name: 'early' }], env: { BERTH_SWEEPER: 'off' } }));
    const tenant = await test.tenant('wake-ups-alone');
    const ids = await Promise.all(Array.from({ length: 15 }, async () => (await tenant.sh('true')).id));
    const ended = await Promise.all(ids.map((id) => tenant.ended(id)));
    expect(new Set(ended.map(({ state }) => state))).toEqual(new Set(['succeeded']));
  });
});

/** Deletes every row that BullMQ keeps in Postgres, in whatever tables it has. */
async function emptyBullTables(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(
      `select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables
       where (schemaname ilike '%bull%' or tablename ilike '%bull%') and tablename not ilike '%migration%'`,
    );
    expect(rows.length).toBeGreaterThan(0);
    await client.query(`truncate ${rows.map(({ name }) => name).join(', ')} cascade`);
  } finally {
    await client.end();
  }
}

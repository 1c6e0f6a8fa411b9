import { eventually, freshDatabase, queuesSuite, startRedis, startTcpProxy } from '@berth/testing';
import pg from 'pg';
import { expect, it } from 'vitest';
import { BullWakeQueue } from './bull-wake-queue.js';
import { openQueues } from './open-queue.js';
import { PostgresBackend } from './postgres-backend.js';

queuesSuite('Redis', async () => {
  const redis = await startRedis();
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(redis.url).port) });
  return {
    open: () => openQueues({ store: { redisUrl: `redis://127.0.0.1:${proxy.port}` } }),
    empty: () => redis.flushAll(),
    cut: () => proxy.cut(),
    restore: () => proxy.restore(),
    close: async () => {
      await proxy.close();
      await redis.stop();
    },
  };
});

queuesSuite('Postgres', async () => {
  const database = await freshDatabase();
  const url = new URL(database.url);
  const proxy = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
  url.port = String(proxy.port);
  return {
    open: () => openQueues({ store: { postgresUrl: url.href } }),
    empty: async () => {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      try {
        // Against a consumer at work this may be the one that Postgres sacrifices to end a deadlock; the consumer is not to give way for good.
        const drop = () => client.query('DROP SCHEMA IF EXISTS bullmq CASCADE');
        await drop().catch((error: { code?: string }) => (error.code === '40P01' ? drop() : Promise.reject(error)));
      } finally {
        await client.end();
      }
    },
    cut: () => proxy.cut(),
    restore: () => proxy.restore(),
    close: async () => {
      await proxy.close();
      await database.drop();
    },
  };
});

it.each(['queue', 'consumer'] as const)('a %s on Postgres that was opened during an outage serves after it', async (kind) => {
  const database = await freshDatabase();
  const url = new URL(database.url);
  const proxy = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
  url.port = String(proxy.port);
  const backend = new PostgresBackend(url.href, 'wake', 'bullmq');
  await backend.prepare();
  // The outage begins between the last statement of this and the first connection of what is opened.
  const prepared = Object.assign(backend, { prepare: async () => {} });
  const queue = new BullWakeQueue(prepared, () => {});
  try {
    proxy.cut();
    const handled: string[] = [];
    if (kind === 'consumer') await queue.consume(async ({ runId }) => void handled.push(runId));
    expect(await queue.depth()).toBeNull();
    proxy.restore();
    await eventually(async () => expect(await queue.depth()).toBe(0));
    if (kind === 'queue') return;
    expect(await queue.publish([{ runId: 'run_1', attempt: 1 }])).toBe(true);
    await eventually(async () => expect(handled).toEqual(['run_1']));
  } finally {
    await queue.close();
    await proxy.close();
    await database.drop();
  }
});

import { BullWakeQueue } from './bull-wake-queue.js';
import type { Relay, WakeQueue } from './ports.js';
import { PostgresBackend, PostgresRelay } from './postgres-backend.js';
import { RedisBackend, RedisRelay } from './redis-backend.js';

export interface QueueOptions {
  /** Where hints are carried: Redis, or the Postgres that is there anyway. */
  readonly store: { readonly redisUrl: string } | { readonly postgresUrl: string };
  /** Parts the hints of one installation from another's on the same Redis; `berth` by default. */
  readonly prefix?: string;
  /** Hears of outages, for logs and metrics. */
  readonly onError?: (error: Error) => void;
}

export interface Queues {
  readonly wakeQueue: WakeQueue;
  readonly relay: Relay;
  close(): Promise<void>;
}

const queueName = 'wake';
const postgresSchema = 'bullmq';

/** Opens both carriers over one store. Succeeds even while the store is away. */
export function openQueues(options: QueueOptions): Queues {
  const { store, prefix = 'berth', onError = () => {} } = options;
  const backend =
    'redisUrl' in store
      ? new RedisBackend(store.redisUrl, queueName, prefix)
      : new PostgresBackend(store.postgresUrl, queueName, postgresSchema);
  const wakeQueue = new BullWakeQueue(backend, onError);
  const relay =
    'redisUrl' in store ? new RedisRelay(store.redisUrl, prefix, onError) : new PostgresRelay(store.postgresUrl, prefix, onError);
  return {
    wakeQueue,
    relay,
    close: async () => {
      await Promise.all([wakeQueue.close(), relay.close()]);
    },
  };
}

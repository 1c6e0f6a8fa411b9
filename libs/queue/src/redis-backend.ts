import { Queue, Worker, type WorkerOptions } from 'bullmq';
import { Redis } from 'ioredis';
import type { BullBackend, WakeJob } from './bull-wake-queue.js';
import { withDeadline } from './deadline.js';
import { ensureRelayable, Relay, type WakeUp } from './ports.js';

/** BullMQ on Redis. All keys begin with `prefix`. */
export class RedisBackend implements BullBackend {
  constructor(
    private readonly url: string,
    private readonly queueName: string,
    private readonly prefix: string,
  ) {}

  async prepare(): Promise<void> {
    // Redis needs no schema: BullMQ's keys come into being as they are written.
  }

  openQueue(): Queue<WakeUp, void, string> {
    // A publisher must learn of an outage at once, so nothing is kept back for when Redis returns.
    const connection = { url: this.url, enableOfflineQueue: false, maxRetriesPerRequest: 0, connectTimeout: 2000, retryStrategy };
    return new Queue(this.queueName, { connection, prefix: this.prefix, skipVersionCheck: true });
  }

  openWorker(
    process: (job: WakeJob) => Promise<void>,
    options: Pick<WorkerOptions, 'concurrency' | 'runRetryDelay'>,
  ): Worker<WakeUp, void, string> {
    const connection = { url: this.url, maxRetriesPerRequest: null, retryStrategy };
    return new Worker(this.queueName, process, { connection, prefix: this.prefix, skipVersionCheck: true, ...options });
  }

  isUnprepared(): boolean {
    return false;
  }
}

function retryStrategy(times: number): number {
  return Math.min(times * 100, 2000);
}

const subscribeTimeoutMs = 2000;

/** Redis pub/sub. */
export class RedisRelay extends Relay {
  private readonly publisher: Redis;
  private readonly subscriber: Redis;
  private readonly listeners = new Map<string, Set<(message: string) => void>>();

  constructor(
    url: string,
    private readonly prefix: string,
    onError: (error: Error) => void,
  ) {
    super();
    this.publisher = new Redis(url, { maxRetriesPerRequest: 0, connectTimeout: 2000, commandTimeout: 2000, retryStrategy });
    this.subscriber = new Redis(url, { maxRetriesPerRequest: null, retryStrategy });
    this.publisher.on('error', onError);
    this.subscriber.on('error', onError);
    this.subscriber.on('message', (channel: string, message: string) => {
      for (const listener of this.listeners.get(channel) ?? []) listener(message);
    });
  }

  override async publish(channel: string, message: string): Promise<boolean> {
    ensureRelayable(message);
    try {
      await this.publisher.publish(this.key(channel), message);
      return true;
    } catch {
      return false;
    }
  }

  override async subscribe(channel: string, listener: (message: string) => void): Promise<() => Promise<void>> {
    const key = this.key(channel);
    const listeners = this.listeners.get(key) ?? new Set();
    this.listeners.set(key, listeners.add(listener));
    await withDeadline(this.subscriber.subscribe(key), subscribeTimeoutMs).catch(() => {});
    return async () => {
      listeners.delete(listener);
      if (listeners.size > 0 || !this.listeners.delete(key)) return;
      await withDeadline(this.subscriber.unsubscribe(key), subscribeTimeoutMs).catch(() => {});
    };
  }

  override async close(): Promise<void> {
    this.publisher.disconnect();
    this.subscriber.disconnect();
  }

  private key(channel: string): string {
    return `${this.prefix}:relay:${channel}`;
  }
}

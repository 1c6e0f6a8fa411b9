import { setTimeout as sleep } from 'node:timers/promises';
import type { Job, Queue, Worker, WorkerOptions } from 'bullmq';
import { withDeadline } from './deadline.js';
import { type Consumer, WakeQueue, type WakeUp } from './ports.js';

export type WakeJob = Job<WakeUp, void, string>;

/** One of BullMQ's stores. Queue and Worker own their connections. */
export interface BullBackend {
  /** Makes the store usable, and does it again after it was emptied. */
  prepare(): Promise<void>;
  /** Rejects while the store is away, if that would spoil the queue for good. */
  openQueue(): Queue<WakeUp, void, string> | Promise<Queue<WakeUp, void, string>>;
  /** As `openQueue`. */
  openWorker(
    process: (job: WakeJob) => Promise<void>,
    options: Pick<WorkerOptions, 'concurrency' | 'runRetryDelay'>,
  ): Worker<WakeUp, void, string> | Promise<Worker<WakeUp, void, string>>;
  /** Whether an error says that what `prepare` made is gone. */
  isUnprepared(error: unknown): boolean;
}

const publishTimeoutMs = 2000;
const retryDelayMs = 1000;
const closeTimeoutMs = 5000;

/** Wake-ups as BullMQ jobs `run-<id>-<attempt>`, removed when done or failed. */
export class BullWakeQueue extends WakeQueue {
  private queue: Promise<Queue<WakeUp, void, string>> | null = null;
  private readonly consumers = new Set<Consumer>();
  private preparing: Promise<void> | null = null;

  /** `onError` hears of outages, for logs and metrics; nothing needs to be done about them. */
  constructor(
    private readonly backend: BullBackend,
    private readonly onError: (error: Error) => void,
  ) {
    super();
  }

  override async publish(items: readonly WakeUp[]): Promise<boolean> {
    if (items.length === 0) return true;
    const jobs = items.map(({ runId, attempt }) => ({
      name: 'wake',
      data: { runId, attempt },
      opts: { jobId: `run-${runId}-${attempt}`, removeOnComplete: true, removeOnFail: true },
    }));
    try {
      await withDeadline(
        this.repairing((queue) => queue.addBulk(jobs)),
        publishTimeoutMs,
      );
      return true;
    } catch (error) {
      this.onError(error as Error);
      return false;
    }
  }

  override async depth(): Promise<number | null> {
    try {
      return await withDeadline(
        this.repairing(async (queue) => (await queue.getWaitingCount()) + (await queue.getActiveCount())),
        publishTimeoutMs,
      );
    } catch {
      return null;
    }
  }

  override async consume(handle: (item: WakeUp) => Promise<void>, options: { concurrency?: number } = {}): Promise<Consumer> {
    const stop = new AbortController();
    const opening = this.openWorker(handle, options.concurrency ?? 1, stop.signal);
    await withDeadline(opening, publishTimeoutMs).catch(() => {});
    const consumer: Consumer = {
      close: async () => {
        this.consumers.delete(consumer);
        stop.abort();
        const worker = await opening;
        if (worker !== null) await closeBounded(worker);
      },
    };
    this.consumers.add(consumer);
    return consumer;
  }

  /** Waits for the store as long as it takes; null when stopped before. */
  private async openWorker(
    handle: (item: WakeUp) => Promise<void>,
    concurrency: number,
    signal: AbortSignal,
  ): Promise<Worker<WakeUp, void, string> | null> {
    const worker = await this.untilOpen(async () => {
      await this.prepare();
      return this.backend.openWorker((job) => handle(job.data), { concurrency, runRetryDelay: retryDelayMs });
    }, signal);
    if (worker === null) return null;
    worker.on('error', (error) => {
      this.onError(error);
      if (this.backend.isUnprepared(error)) this.prepare().catch((failure: Error) => this.onError(failure));
    });
    worker.on('failed', (_job, error) => this.onError(error));
    return worker;
  }

  private async untilOpen<T>(open: () => Promise<T>, signal: AbortSignal): Promise<T | null> {
    for (;;) {
      try {
        return await open();
      } catch (error) {
        this.onError(error as Error);
        await sleep(retryDelayMs, undefined, { signal }).catch(() => {});
        if (signal.aborted) return null;
      }
    }
  }

  override async close(): Promise<void> {
    const queue = this.queue?.catch(() => null) ?? null;
    this.queue = null;
    const closeQueue = async () => {
      const opened = await queue;
      if (opened !== null) await closeBounded(opened);
    };
    await Promise.all([closeQueue(), ...[...this.consumers].map((consumer) => consumer.close())]);
  }

  private async repairing<T>(work: (queue: Queue<WakeUp, void, string>) => Promise<T>): Promise<T> {
    const queue = await this.openQueue();
    try {
      return await work(queue);
    } catch (error) {
      if (!this.backend.isUnprepared(error)) throw error;
      await this.prepare();
      return work(queue);
    }
  }

  private openQueue(): Promise<Queue<WakeUp, void, string>> {
    this.queue ??= (async () => {
      await this.prepare();
      const queue = await this.backend.openQueue();
      queue.on('error', this.onError);
      return queue;
    })().catch((error: unknown) => {
      // The next caller tries again: the store may be back by then.
      this.queue = null;
      throw error;
    });
    return this.queue;
  }

  /** Many callers find the store emptied at once; one of them repairs it. */
  private prepare(): Promise<void> {
    this.preparing ??= this.backend.prepare().finally(() => {
      this.preparing = null;
    });
    return this.preparing;
  }
}

/** BullMQ says goodbye to its store, and waits for it to come back where it is away; then nobody waits for BullMQ. */
async function closeBounded(owner: { close(): Promise<void>; disconnect(): Promise<void> }): Promise<void> {
  try {
    await withDeadline(owner.close(), closeTimeoutMs);
  } catch {
    owner.disconnect().catch(() => {});
  }
}

import { type Consumer, WakeQueue, type WakeUp } from '@berth/queue';
import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, type Logger } from '../logger.js';
import { Metrics } from '../metrics/metrics.js';

const outboxBatch = 500;
/** Wake-ups that come together share one pass of the scheduler, so taking many at a time costs no more than taking one. */
const concurrency = 32;
/** What this replica has not placed by then, any replica may. */
const publishAfterMs = 50;

type Place = () => Promise<ReadonlySet<string>>;

/**
 * Hints that the scheduler should look: to ourselves for each run that gets its reservation and for room that came free, and through the queue for each
 * run that we did not place at once. A hint may get lost, come late or twice; the outbox and the sweeper see to what it stood for. So none of this ever fails its caller.
 */
@Injectable()
export class WakeUps {
  private place: Place | null = null;
  private unpublished = new Set<string>();
  private publishing: NodeJS.Timeout | null = null;
  private consumer: Consumer | null = null;

  constructor(
    @Inject(WakeQueue) private readonly queue: WakeQueue | null,
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** From now on each wake-up, from whichever replica, calls `place` on one of the replicas. */
  async start(place: Place): Promise<void> {
    if (this.queue === null) return;
    this.place = place;
    const handle = async (): Promise<void> => {
      this.metrics.wakeUps.inc({ outcome: 'taken' });
      await place();
    };
    this.consumer = await this.queue.consume(handle, { concurrency });
  }

  /** Runs have their reservation, newly, and await their first placement. After the commit. */
  admitted(runIds: readonly string[]): void {
    if (this.queue === null || runIds.length === 0) return;
    for (const runId of runIds) this.unpublished.add(runId);
    this.publishing ??= setTimeout(() => void this.publishRest(), publishAfterMs);
    this.look();
  }

  /** Room came free on a node, or a run came back for another attempt. After the commit. */
  capacityFreed(): void {
    this.look();
  }

  private look(): void {
    this.place?.().then(
      (placed) => {
        for (const runId of placed) this.unpublished.delete(runId);
      },
      (error: unknown) => this.logger.warn({ err: error }, 'placing'),
    );
  }

  /** Publishes what the outbox still holds, and empties it; returns how much that was. */
  async publishOutbox(): Promise<number> {
    if (this.queue === null) return 0;
    const rows = await this.runs.outbox(outboxBatch);
    if (rows.length === 0 || !(await this.publish(rows))) return 0;
    await this.runs.outboxPublished(rows.map(({ id }) => id));
    return rows.length;
  }

  /** How many wake-ups wait in the queue; null when it does not answer, 0 without one. */
  async depth(): Promise<number | null> {
    return this.queue === null ? 0 : this.queue.depth();
  }

  /** Rejects when the queue does not answer. */
  async ping(): Promise<void> {
    if ((await this.depth()) === null) throw new Error('the queue does not answer');
  }

  /** Takes no more wake-ups, and resolves when none is being handled. */
  async stop(): Promise<void> {
    this.place = null;
    await this.publishRest();
    await this.consumer?.close();
  }

  private async publishRest(): Promise<void> {
    if (this.publishing !== null) clearTimeout(this.publishing);
    this.publishing = null;
    const rest = [...this.unpublished].map((runId) => ({ runId, attempt: 1 }));
    this.unpublished = new Set();
    if (rest.length > 0) await this.publish(rest);
  }

  private async publish(runs: readonly WakeUp[]): Promise<boolean> {
    if (this.queue === null) return false;
    const published = await this.queue.publish(runs.map(({ runId, attempt }) => ({ runId, attempt })));
    this.metrics.wakeUps.inc({ outcome: published ? 'published' : 'failed' }, runs.length);
    return published;
  }
}

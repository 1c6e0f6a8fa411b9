import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../logger.js';
import type { Metrics } from '../metrics/metrics.js';

/** One thing the sweeper looks after. */
export interface SweepStep {
  readonly name: string;
  /** Every so many ticks. */
  readonly every: number;
  /** Looks, repairs, and answers how much there was to repair. */
  readonly execute: () => Promise<number>;
}

/**
 * The safety net under every hint: it finds by looking into the store whatever a lost message should have told. All replicas sweep; each step is one
 * that others may do at the same time.
 */
export class Sweeper {
  private readonly stopped = new AbortController();
  private loop: Promise<void> = Promise.resolve();

  constructor(
    private readonly steps: readonly SweepStep[],
    private readonly tickMs: number,
    private readonly metrics: Metrics,
    private readonly logger: Logger,
  ) {}

  start(): void {
    this.loop = this.run();
  }

  /** Resolves when the tick that runs has ended. */
  async stop(): Promise<void> {
    this.stopped.abort();
    await this.loop;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    for (let tick = 0; !signal.aborted; tick++) {
      for (const step of this.steps) if (tick % step.every === 0 && !signal.aborted) await this.take(step);
      // Jitter keeps replicas that started together from looking together.
      await sleep(this.tickMs * (0.8 + Math.random() * 0.4), undefined, { signal }).catch(() => {});
    }
  }

  private async take(step: SweepStep): Promise<void> {
    try {
      const found = await step.execute();
      this.metrics.sweeps.inc({ action: step.name }, found);
    } catch (error) {
      this.metrics.sweepFailures.inc({ action: step.name });
      this.logger.warn({ err: error, action: step.name }, 'sweep');
    }
  }
}

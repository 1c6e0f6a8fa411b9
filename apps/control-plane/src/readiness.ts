import { AppError } from '@berth/core';
import type { Store } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, type Logger } from './logger.js';
import { WakeUps } from './queue/wake-ups.js';
import { STORE } from './tokens.js';

/** A check that takes longer counts as failed. */
const checkMs = 2000;

/** Whether this replica should get requests. */
@Injectable()
export class Readiness {
  private isStopping = false;

  constructor(
    @Inject(STORE) private readonly store: Store,
    private readonly wakeUps: WakeUps,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  get stopping(): boolean {
    return this.isStopping;
  }

  /** From now on the answer is no, so that balancers look elsewhere while we finish. */
  stop(): void {
    this.isStopping = true;
  }

  /** Throws `unavailable`, naming what is missing. */
  async assertReady(): Promise<void> {
    if (this.isStopping) throw new AppError('unavailable', 'the service is stopping');
    const checks = { Postgres: this.store.ping(), 'the queue': this.wakeUps.ping() };
    await Promise.all(
      Object.entries(checks).map(async ([what, check]) => {
        const failure = await within(check);
        if (failure === null) return;
        this.logger.warn({ err: failure }, `${what} does not answer`);
        throw new AppError('unavailable', `${what} does not answer`);
      }),
    );
  }
}

async function within(check: Promise<void>): Promise<Error | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Error>((resolve) => {
    timer = setTimeout(() => resolve(new Error(`no answer within ${checkMs} ms`)), checkMs);
  });
  const answer = check.then(
    () => null,
    (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
  );
  const outcome = await Promise.race([answer, late]);
  clearTimeout(timer);
  return outcome;
}

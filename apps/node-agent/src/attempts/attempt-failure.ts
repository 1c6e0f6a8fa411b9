import type { RunFailure } from '@berth/core';
import type { Outcome } from './steps.js';

/** An attempt cannot go on. Its message reaches the tenant: it names no path of this machine and no other tenant. */
export class AttemptFailure extends Error {
  override readonly name = 'AttemptFailure';

  constructor(
    readonly failure: RunFailure,
    readonly retryable: boolean,
    options?: ErrorOptions,
  ) {
    super(failure.message, options);
  }

  /** What an error means for the attempt; one that is not an AttemptFailure is a fault of the node, which another may not have. */
  static from(error: unknown): AttemptFailure {
    if (error instanceof AttemptFailure) return error;
    return new AttemptFailure({ code: 'internal', message: 'the node could not prepare the container', blame: 'platform' }, true, {
      cause: error,
    });
  }

  /** The image or the request asks for something that cannot be started. */
  static refused(message: string, options?: ErrorOptions): AttemptFailure {
    return new AttemptFailure({ code: 'startFailed', message, blame: 'user' }, false, options);
  }
}

/** The verdict on an attempt whose container is gone with its exit status. */
export const lostContainer: Extract<Outcome, { kind: 'failed' }> = {
  kind: 'failed',
  failure: { code: 'internal', message: 'the node lost the container: its exit status is unknown', blame: 'platform' },
  retryable: true,
};

/*
 * What carries hints between the control plane's parts. Postgres is the truth: a message may come twice, late, or not at all, and whoever gets one
 * looks for itself. So nothing here can lose a run, and nothing here may fail an admission.
 */

/** A run that may be placed: ids only, never anything of its content. `attempt` is the number that its next placement will have. */
export interface WakeUp {
  readonly runId: string;
  readonly attempt: number;
}

export interface Consumer {
  /** Takes no more; resolves when what was taken has been handled. */
  close(): Promise<void>;
}

/** Wake-ups of runs that hold a reservation and await a node. One of the same run and attempt that is still queued is not queued twice. */
export abstract class WakeQueue {
  /** Never rejects, and answers within a bounded time: false when the wake-ups could not be stored (the outbox and the sweeper have them). */
  abstract publish(items: readonly WakeUp[]): Promise<boolean>;
  /**
   * Calls `handle` for each wake-up, at most `concurrency` (1 by default) at a time. One whose handling throws is dropped.
   * Survives outages of the store; where it is away at first, consuming begins when it is there.
   */
  abstract consume(handle: (item: WakeUp) => Promise<void>, options?: { concurrency?: number }): Promise<Consumer>;
  /** How many wait to be handled, for metrics; null when the store cannot tell. */
  abstract depth(): Promise<number | null>;
  abstract close(): Promise<void>;
}

/** Longest message in UTF-8 bytes: what a Postgres notification holds, less the channel. */
export const maxRelayMessageBytes = 7000;

/** Hints to every replica of the control plane, the publishing one included, that listens at this moment. */
export abstract class Relay {
  /** Never rejects for an outage: false when the message could not be sent. Throws a RangeError for one that is too long. */
  abstract publish(channel: string, message: string): Promise<boolean>;
  /**
   * Calls `listener` with each message from when the promise resolves; survives outages, losing what was sent during one. Where the store is away
   * the promise resolves after a bounded time, and listening begins when the store is there. Returns how to end it.
   */
  abstract subscribe(channel: string, listener: (message: string) => void): Promise<() => Promise<void>>;
  abstract close(): Promise<void>;
}

export function ensureRelayable(message: string): void {
  if (Buffer.byteLength(message) > maxRelayMessageBytes) throw new RangeError(`a relay message has at most ${maxRelayMessageBytes} bytes`);
}

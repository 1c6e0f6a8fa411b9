interface Flight<T, P> {
  readonly controller: AbortController;
  readonly result: Promise<T>;
  readonly listeners: Set<(progress: P) => void>;
  latest: P | undefined;
  waiters: number;
}

export interface Waiter<P> {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: P) => void) | undefined;
}

/**
 * Runs one operation per key however many ask for it meanwhile. One who gives up leaves the others undisturbed; the operation is aborted when the last has left.
 */
export class SingleFlight<T, P = never> {
  readonly #flights = new Map<string, Flight<T, P>>();

  /** `led` is true for the caller whose `start` was run. */
  async run(
    key: string,
    waiter: Waiter<P>,
    start: (signal: AbortSignal, report: (progress: P) => void) => Promise<T>,
  ): Promise<{ value: T; led: boolean }> {
    waiter.signal?.throwIfAborted();
    const joined = this.#flights.get(key);
    const flight = joined ?? this.#launch(key, start);
    flight.waiters++;
    if (waiter.onProgress) {
      flight.listeners.add(waiter.onProgress);
      if (flight.latest !== undefined) waiter.onProgress(flight.latest);
    }
    try {
      return { value: await this.#orAborted(flight, waiter.signal), led: joined === undefined };
    } finally {
      if (waiter.onProgress) flight.listeners.delete(waiter.onProgress);
      if (--flight.waiters === 0) this.#abandon(key, flight);
    }
  }

  /** Whether an operation of that key is under way. */
  has(key: string): boolean {
    return this.#flights.has(key);
  }

  #launch(key: string, start: (signal: AbortSignal, report: (progress: P) => void) => Promise<T>): Flight<T, P> {
    const controller = new AbortController();
    const listeners = new Set<(progress: P) => void>();
    const report = (progress: P) => {
      flight.latest = progress;
      for (const listener of listeners) listener(progress);
    };
    // The start is put off to the microtask queue, so that `flight` exists when it reports.
    const result = Promise.resolve()
      .then(() => start(controller.signal, report))
      .finally(() => {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      });
    result.catch(() => {});
    const flight: Flight<T, P> = { controller, result, listeners, latest: undefined, waiters: 0 };
    this.#flights.set(key, flight);
    return flight;
  }

  /** Nobody waits any more: a flight still under way is called back, and the next to ask starts afresh. */
  #abandon(key: string, flight: Flight<T, P>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
    flight.controller.abort(new DOMException('nobody waits for this any more', 'AbortError'));
  }

  async #orAborted(flight: Flight<T, P>, signal: AbortSignal | undefined): Promise<T> {
    if (!signal) return flight.result;
    let onAbort = () => {};
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([flight.result, aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}

import { setTimeout as sleep } from 'node:timers/promises';

/** Repeats `check` until it no longer throws, and returns what it returned; throws its last error after `timeoutMs` (5,000 by default). */
export async function eventually<T>(check: () => T | Promise<T>, options: { timeoutMs?: number; intervalMs?: number } = {}): Promise<T> {
  const deadline = performance.now() + (options.timeoutMs ?? 5000);
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() >= deadline) throw error;
    }
    await sleep(options.intervalMs ?? 20);
  }
}

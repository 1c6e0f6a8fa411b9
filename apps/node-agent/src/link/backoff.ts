/**
 * How long to wait before a try, in milliseconds: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), so that the nodes
 * of a restarted control plane do not come back as one. `failures` counts the failed tries so far, from 1; `random` is 0 to 1.
 */
export function backoffMs(failures: number, random: number, baseMs = 250, capMs = 10_000): number {
  const ceiling = Math.min(capMs, baseMs * 2 ** Math.min(failures, 30));
  return Math.round(baseMs / 2 + random * (ceiling - baseMs / 2));
}

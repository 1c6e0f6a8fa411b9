import { readFileSync } from 'node:fs';

/** Nanoseconds of CLOCK_BOOTTIME, which counts suspended time (clock_gettime(2)). Read from /proc/uptime, so rounded down to 10 ms. */
export function bootTimeNs(): bigint {
  return parseUptimeNs(readFileSync('/proc/uptime', 'latin1'));
}

/** The first number of /proc/uptime, "SECONDS.CENTISECONDS", in nanoseconds. */
export function parseUptimeNs(text: string): bigint {
  const found = /^([0-9]+)\.([0-9]{2})\b/.exec(text);
  if (found === null) throw new Error('/proc/uptime is not as expected');
  return (BigInt(found[1] ?? 0) * 100n + BigInt(found[2] ?? 0)) * 10_000_000n;
}

/** Changes with each boot of the machine. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

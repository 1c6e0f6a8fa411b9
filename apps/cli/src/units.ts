import { UsageError } from './failures.js';

const binaryPowers: Readonly<Record<string, number>> = { '': 0, k: 1, m: 2, g: 3, t: 4 };

/** Bytes of a size as Docker writes it: `256m`, `1.5g`, `512k`, `1048576`; `Mi`, `MiB` and `MB` mean the same: powers of 1024. */
export function parseSize(text: string, flag: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([kmgt]?)(?:i?b)?$/i.exec(text) ?? /^([0-9]+(?:\.[0-9]+)?)([kmgt])i$/i.exec(text);
  const bytes = match === null ? Number.NaN : Number(match[1]) * 1024 ** (binaryPowers[(match[2] ?? '').toLowerCase()] ?? 0);
  if (!Number.isSafeInteger(Math.round(bytes))) throw new UsageError(`${flag} ${text}: write a size such as 256m or 1g`);
  return Math.round(bytes);
}

/** Thousandths of a cpu: `0.5` is 500, `2` is 2000. */
export function parseCpus(text: string, flag: string): number {
  if (!/^([0-9]{1,9}(\.[0-9]{0,3})?|\.[0-9]{1,3})$/.test(text))
    throw new UsageError(`${flag} ${text}: write a number of cpus such as 0.5 or 2, with at most three decimals`);
  return Math.round(Number(text) * 1000);
}

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds of `500ms`, `30s`, `1m30s`, `2h`, `1d`; a bare number is seconds, as in Docker. */
export function parseDuration(text: string, flag: string): number {
  const fault = new UsageError(`${flag} ${text}: write a duration such as 30s, 5m or 1h30m`);
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) return whole(Number(text) * 1000, fault);
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$/.test(text)) throw fault;
  let sum = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)/g))
    sum += Number(amount) * unitMs[unit as keyof typeof unitMs];
  return whole(sum, fault);
}

export function parseWhole(text: string, flag: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new UsageError(`${flag} ${text}: write a whole number`);
  return Number(text);
}

/** `KEY=VALUE`; the value may hold further `=` and may be empty. */
export function parsePair(text: string, flag: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`${flag} ${text}: write KEY=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** `1.5 GiB`, `256 MiB`, `10 B`: at most one decimal. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  // As it will be printed: 1023.96 KiB would read 1024 KiB.
  while (Number(value.toFixed(1)) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** The two largest units of a span: `1h 5m`, `42s`, `350ms`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  const seconds = Math.floor(ms / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join(' ');
}

function whole(ms: number, fault: UsageError): number {
  const rounded = Math.round(ms);
  if (!Number.isSafeInteger(rounded)) throw fault;
  return rounded;
}

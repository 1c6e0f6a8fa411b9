import type { UsageLine } from '@berth/wire';

const columns = [
  'day',
  'tenant',
  'runs',
  'attempts',
  'runMs',
  'cpuTimeMs',
  'reservedCpuMs',
  'reservedMemoryMibSeconds',
  'logBytes',
] as const satisfies readonly (keyof UsageLine)[];

/** As RFC 4180 has it, with a line of names; behind them the label's value, in a column of the label's name, where one was asked for. */
export function usageAsCsv(lines: readonly UsageLine[], label: string | null): string {
  const names = label === null ? columns : [...columns, `label:${label}`];
  const rows = lines.map((line) => [...columns.map((name) => line[name]), ...(label === null ? [] : [line.labelValue ?? ''])]);
  return [names, ...rows].map((row) => `${row.map((cell) => quoted(String(cell))).join(',')}\r\n`).join('');
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

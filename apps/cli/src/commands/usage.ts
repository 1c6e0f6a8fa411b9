import { type UsageList, usageList } from '@berth/wire';
import { type Command, defineCommand, print, takeOperands, type Values } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { formatTable } from '../table.js';
import { formatDuration, formatSize } from '../units.js';

const options = {
  from: { type: 'string', value: 'DAY', description: 'The first day (UTC), as 2026-01-31; the first of the month unless told' },
  to: { type: 'string', value: 'DAY', description: 'The last day (UTC); today unless told' },
  label: { type: 'string', short: 'l', value: 'KEY', description: 'A line for each value of this label; runs without it are left out' },
  csv: { type: 'boolean', description: 'As CSV' },
  json: { type: 'boolean', description: 'As JSON' },
} as const;

const usageOf = (name: string, summary: string, kind: 'tenant' | 'admin', path: string): Command =>
  defineCommand({
    name,
    summary,
    operands: '',
    options,
    async run(context, values, operands) {
      takeOperands(operands);
      if (values.csv === true && values.json === true) throw new UsageError('--csv and --json: choose one');
      const client = context.client(kind);
      if (values.csv === true) {
        const decoder = new TextDecoder();
        for await (const chunk of await client.stream(`${path}?${query(values, 'csv')}`)) {
          await print(context.stdout, decoder.decode(chunk, { stream: true }));
        }
        return exitCodes.ok;
      }
      const used = await client.json(usageList, `${path}?${query(values, 'json')}`);
      await print(context.stdout, values.json === true ? `${JSON.stringify(used, null, 2)}\n` : usageTable(used, kind === 'admin'));
      return exitCodes.ok;
    },
  });

export const usageCommands = [
  usageOf('usage', 'Show what your ended runs used, by day and label', 'tenant', '/v1/usage'),
  usageOf('tenants usage', 'Show what the ended runs of every tenant used, by day and label', 'admin', '/v1/admin/usage'),
];

function query({ from, to, label }: Values<typeof options>, format: 'json' | 'csv'): string {
  return new URLSearchParams({
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(label === undefined ? {} : { label }),
    format,
  }).toString();
}

function usageTable({ label, items }: UsageList, ofAll: boolean): string {
  const header = ['DAY', ...(ofAll ? ['TENANT'] : []), ...(label === null ? [] : [label.toUpperCase()])];
  const rows = items.map((line) => [
    line.day,
    ...(ofAll ? [line.tenant] : []),
    ...(label === null ? [] : [line.labelValue ?? '']),
    String(line.runs),
    formatDuration(line.runMs),
    (line.cpuTimeMs / 1000).toFixed(1),
    (line.reservedCpuMs / 1000).toFixed(1),
    (line.reservedMemoryMibSeconds / 1024 / 3600).toFixed(3),
    formatSize(line.logBytes),
  ]);
  return formatTable([...header, 'RUNS', 'RAN', 'CPU S USED', 'CPU S RESERVED', 'GIB H RESERVED', 'LOGS'], rows);
}

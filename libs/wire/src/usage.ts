import { z } from 'zod';
import { label } from './primitives.js';

const day = z.iso.date('must be a date, as 2026-01-31');

/** `GET /v1/usage`: from and to are days (UTC), both included; this month until today unless told. */
export const usageQuery = z.strictObject({
  from: day.optional().describe('The first day (UTC); the first of this month unless told'),
  to: day.optional().describe('The last day (UTC); today unless told'),
  label: label.key.optional().describe('A line for each value of this label; runs without it are left out'),
  format: z.enum(['json', 'csv']).default('json'),
});

/** What the runs used that ended on one day. */
export const usageLine = z.object({
  day: z.string().describe('UTC'),
  tenant: z.string(),
  labelValue: z.string().nullable().describe('null: whatever their labels'),
  runs: z.int(),
  attempts: z.int(),
  runMs: z.number().describe('From start to end, of all attempts'),
  cpuTimeMs: z.number().describe('Used, as their cgroups counted it'),
  reservedCpuMs: z.number().describe('Cpu-milliseconds by what was reserved and for how long, as the monthly budget counts them'),
  reservedMemoryMibSeconds: z.number().describe('MiB-seconds by what was reserved and for how long, as the monthly budget counts them'),
  logBytes: z.number(),
});
export type UsageLine = z.infer<typeof usageLine>;

export const usageList = z.object({
  from: z.string(),
  to: z.string(),
  label: z.string().nullable(),
  items: z.array(usageLine).describe('By day, tenant and value'),
});
export type UsageList = z.infer<typeof usageList>;

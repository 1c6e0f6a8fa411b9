import { expect, it } from 'vitest';
import { usageAsCsv } from './usage-csv.js';

const line = {
  day: '2026-01-31',
  tenant: 'acme',
  labelValue: null,
  runs: 2,
  attempts: 3,
  runMs: 4000,
  cpuTimeMs: 5.5,
  reservedCpuMs: 6000,
  reservedMemoryMibSeconds: 7,
  logBytes: 8,
};
const header = 'day,tenant,runs,attempts,runMs,cpuTimeMs,reservedCpuMs,reservedMemoryMibSeconds,logBytes';

it('has a line of names and one for each day', () => {
  expect(usageAsCsv([line], null)).toBe(`${header}\r\n2026-01-31,acme,2,3,4000,5.5,6000,7,8\r\n`);
});

it('keeps values whole, whatever is in them', () => {
  const csv = usageAsCsv([{ ...line, labelValue: 'a,"b"\nc' }], 'team');
  expect(csv).toBe(`${header},label:team\r\n2026-01-31,acme,2,3,4000,5.5,6000,7,8,"a,""b""\nc"\r\n`);
});

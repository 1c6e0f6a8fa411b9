import type { Lease, Report } from '@berth/wire';

/** The id of an attempt's report: the same for the same fact, so that a report that comes twice is known to be one. All ends share an id: there is one end. */
export function reportId(lease: Pick<Lease, 'runId' | 'epoch'>, kind: Report['kind']): string {
  const ends: readonly Report['kind'][] = ['exited', 'failed', 'stopped'];
  return `${lease.runId}-${lease.epoch}-${ends.includes(kind) ? 'end' : kind}`;
}

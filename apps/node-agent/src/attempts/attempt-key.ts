import type { Assignment, Lease } from '@berth/wire';

/** Names an attempt on this node; also its container's id, its snapshot's key and its directory. */
export type AttemptKey = string;

export function attemptKey(lease: Pick<Lease, 'runId' | 'epoch'>): AttemptKey {
  return `${lease.runId}-${lease.epoch}`;
}

/** What the control plane assigned, without the credential, which stays in memory. */
export type RecordedAssignment = Omit<Assignment, 'pullAuthorization'>;

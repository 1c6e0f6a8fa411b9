import type { LeaseRow } from '@berth/store';
import { Injectable } from '@nestjs/common';
import { NodeLinks } from '../fleet/node-links.js';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from './run-changes.js';

/** What a commit changed, for those who have to act on it. */
export interface CommittedOutcome {
  /** Runs that are not what they were. */
  readonly changed?: readonly string[];
  /** Runs that hold a reservation newly. */
  readonly admitted?: readonly string[];
  /** Leases that their nodes are to stop. */
  readonly stops?: readonly { readonly nodeId: string; readonly lease: LeaseRow }[];
}

/** Tells whoever waits, places or runs what a commit changed. Hints, all of them: what gets lost is found by looking. */
@Injectable()
export class AnnounceOutcome {
  constructor(
    private readonly wakeUps: WakeUps,
    private readonly changes: RunChanges,
    private readonly links: NodeLinks,
  ) {}

  execute({ changed = [], admitted = [], stops = [] }: CommittedOutcome): void {
    this.changes.announce([...new Set([...changed, ...admitted])]);
    this.wakeUps.admitted(admitted);
    for (const { nodeId, lease } of stops) this.links.look(nodeId, [lease.runId]);
  }
}

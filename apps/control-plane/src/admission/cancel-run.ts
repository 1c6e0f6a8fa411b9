import { type RunRow, RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { NodeLinks } from '../fleet/node-links.js';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from '../reporting/run-changes.js';

/** Cancels a run: at once while it is queued, else by asking its node to stop it. Cancelling again, or after the end, changes nothing. */
@Injectable()
export class CancelRun {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly links: NodeLinks,
    private readonly wakeUps: WakeUps,
    private readonly changes: RunChanges,
  ) {}

  /** The run as it stands afterwards; null when the tenant has no such run. */
  async execute(tenant: TenantRow, runId: string): Promise<RunRow | null> {
    const outcome = await this.runs.cancel(tenant.id, runId, new Date());
    if (outcome === null) return null;
    this.changes.announce([runId, ...outcome.admitted]);
    this.wakeUps.admitted(outcome.admitted);
    if (outcome.stop !== null) this.links.look(outcome.stop.nodeId, [runId]);
    return outcome.run;
  }
}

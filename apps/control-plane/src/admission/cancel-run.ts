import { type Actor, type RunRow, RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { AnnounceOutcome } from '../reporting/announce-outcome.js';

/** Cancels a run: at once while it is queued, else by asking its node to stop it. Cancelling again, or after the end, changes nothing. */
@Injectable()
export class CancelRun {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly announce: AnnounceOutcome,
  ) {}

  /** The run as it stands afterwards; null when the tenant has no such run. */
  async execute(tenant: TenantRow, runId: string, by: Actor): Promise<RunRow | null> {
    const outcome = await this.runs.cancel(tenant.id, runId, new Date(), by);
    if (outcome === null) return null;
    this.announce.execute({ changed: [runId], admitted: outcome.admitted, stops: outcome.stop === null ? [] : [outcome.stop] });
    return outcome.run;
  }
}

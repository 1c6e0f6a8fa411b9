import { type Actor, RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { AnnounceOutcome } from '../reporting/announce-outcome.js';

/** Forgets a terminal run with its events and logs. The room that its logs leave may admit a run that waited for it. */
@Injectable()
export class DeleteRun {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly announce: AnnounceOutcome,
  ) {}

  async execute(tenant: TenantRow, runId: string, by: Actor): Promise<'deleted' | 'runNotTerminal' | 'notFound'> {
    const { outcome, admitted } = await this.runs.delete(tenant.id, runId, new Date(), by);
    this.announce.execute({ admitted });
    return outcome;
  }
}

import { isTerminal } from '@berth/core';
import { type RunEventRow, RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { Alarm } from './alarm.js';
import { RunChanges } from './run-changes.js';

const pageSize = 200;
/** How often a follower looks without news. */
const lookAgainMs = 3000;
/** The store shows a tenant's events, of many runs, when it knows their order; so long after news of one it is worth a look. */
const settlingMs = 1000;
const quietMs = 15_000;

/** Follows the events of one run, or of all runs of a tenant, from any point of their history. */
@Injectable()
export class FollowEvents {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly changes: RunChanges,
  ) {}

  /**
   * Yields events in order as they happen, those after `after` first, and null after a quiet time. A run's stream ends after its terminal
   * event; a tenant's with `signal`.
   */
  async *execute(
    tenant: TenantRow,
    runId: string | undefined,
    after: bigint | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<RunEventRow | null> {
    const alarm = new Alarm();
    const stopListening = runId === undefined ? this.changes.listenToAll(alarm.ring) : this.changes.listen(runId, alarm.ring);
    const filter = { tenantId: tenant.id, ...(runId === undefined ? {} : { runId }), limit: pageSize };
    let cursor = after;
    let spokeAt = performance.now();
    try {
      while (!signal.aborted) {
        const events = await this.runs.events({ ...filter, ...(cursor === undefined ? {} : { after: cursor }) });
        for (const event of events) {
          yield event;
          cursor = event.id;
          spokeAt = performance.now();
          if (runId !== undefined && isTerminal(event.state)) return;
        }
        if (events.length === pageSize) continue;
        if (events.length === 0 && runId !== undefined && (await this.isOver(tenant, runId))) return;
        if (performance.now() - spokeAt >= quietMs) {
          yield null;
          spokeAt = performance.now();
        }
        await alarm.sleep(lookAgainMs, signal);
        if (runId === undefined) await new Alarm().sleep(settlingMs, signal);
      }
    } finally {
      stopListening();
    }
  }

  /** Whether nothing can follow: the run has ended, or has been deleted. */
  async isOver(tenant: TenantRow, runId: string): Promise<boolean> {
    const run = await this.runs.find(tenant.id, runId);
    return run === null || isTerminal(run.state);
  }
}

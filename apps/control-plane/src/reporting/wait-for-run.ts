import { isTerminal } from '@berth/core';
import { type RunRow, RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { Alarm } from './alarm.js';
import { RunChanges } from './run-changes.js';

/** How often a waiter looks without news, should news get lost. */
const lookAgainMs = 3000;

/** Waits, within a bound, for a run to end. */
@Injectable()
export class WaitForRun {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly changes: RunChanges,
  ) {}

  /** The run once it is terminal, or as it stands when `timeoutMs` has passed or `signal` is aborted; null when the tenant has no such run. */
  async execute(tenant: TenantRow, runId: string, timeoutMs: number, signal: AbortSignal): Promise<RunRow | null> {
    const alarm = new Alarm();
    // Listening starts before the first look, so that no change falls between the two.
    const stopListening = this.changes.listen(runId, alarm.ring);
    const deadline = performance.now() + timeoutMs;
    try {
      for (;;) {
        const run = await this.runs.find(tenant.id, runId);
        const leftMs = deadline - performance.now();
        if (run === null || isTerminal(run.state) || leftMs <= 0 || signal.aborted) return run;
        await alarm.sleep(Math.min(leftMs, lookAgainMs * (0.75 + Math.random() / 2)), signal);
      }
    } finally {
      stopListening();
    }
  }
}

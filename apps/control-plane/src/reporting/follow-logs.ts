import { AppError, isTerminal } from '@berth/core';
import { LogStore, type RunRow, RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { Alarm } from './alarm.js';
import { RunChanges } from './run-changes.js';

const chunkBytes = 64 * 1024;
/** How often a follower looks without news; log chunks that another replica stored bring none. */
const lookAgainMs = 400;
/** A log that is not whole so long after its run's end will never be: its node is gone. */
const incompleteMs = 10_000;
/** How long a plain read waits for the rest of an ended run's log: a node reports the end and ships the log on connections of their own. */
const tailMs = 2_000;

export interface LogSelection {
  /** Undefined: the last attempt; when following, also those that come after it. */
  readonly attempt: number | undefined;
  readonly follow: boolean;
}

/** Reads a run's log from its first byte, and on, as it is written. */
@Injectable()
export class FollowLogs {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(LogStore) private readonly logs: LogStore,
    private readonly changes: RunChanges,
  ) {}

  /** Refuses with `notFound` an attempt that the run has not had. */
  assertAttempt(run: RunRow, attempt: number | undefined): void {
    if (attempt !== undefined && run.attempts.every(({ number }) => number !== attempt)) {
      throw new AppError('notFound', `the run has no attempt ${attempt}`);
    }
  }

  /** Yields bytes of the log, CRI records, at most 64 KiB at a time and only when asked, so that a slow reader costs nothing here. */
  async *execute(tenant: TenantRow, runId: string, selection: LogSelection, signal: AbortSignal): AsyncGenerator<Buffer> {
    const alarm = new Alarm();
    const stopListening = this.changes.listenToLog(runId, alarm.ring);
    let attempt = selection.attempt;
    let offset = 0;
    let grewAt = performance.now();
    try {
      while (!signal.aborted) {
        // The run is looked at before its log, so that what was written up to its end is read before the end is believed.
        const run = await this.runs.find(tenant.id, runId);
        if (run === null) return;
        attempt ??= run.attempts.at(-1)?.number;
        let complete = true;
        if (attempt !== undefined) {
          let read = await this.logs.read(runId, attempt, offset, chunkBytes);
          while (read.bytes.length > 0 && !signal.aborted) {
            yield read.bytes;
            offset = read.nextOffset;
            grewAt = performance.now();
            read = await this.logs.read(runId, attempt, offset, chunkBytes);
          }
          complete = read.complete;
        }
        const isTail = isTerminal(run.state) && !complete && performance.now() - grewAt < tailMs;
        if (!selection.follow && !isTail) return;
        const next = selection.attempt === undefined ? run.attempts.find(({ number }) => number > (attempt ?? 0)) : undefined;
        if (attempt !== undefined && next !== undefined) {
          attempt = next.number;
          offset = 0;
          continue;
        }
        const ended = isTerminal(run.state) || (selection.attempt !== undefined && complete);
        if (ended && (complete || performance.now() - grewAt > incompleteMs)) return;
        await alarm.sleep(lookAgainMs, signal);
      }
    } finally {
      stopListening();
    }
  }
}

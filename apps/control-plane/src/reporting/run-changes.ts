import { Injectable } from '@nestjs/common';
import { Signals } from '../queue/signals.js';
import { Listeners } from './listeners.js';

/** Wakes whoever waits for news of a run, on every replica. News is a hint: the listener looks into the store, and looks now and then without one. */
@Injectable()
export class RunChanges {
  private readonly ofRuns = new Listeners();
  private readonly ofLogs = new Listeners();
  private readonly ofAny = new Set<() => void>();

  constructor(private readonly signals: Signals) {
    signals.on('runsChanged', ({ runIds }) => this.wake(runIds));
  }

  /** Says that these runs or their events are not what they were. After the commit. */
  announce(runIds: readonly string[]): void {
    if (runIds.length === 0) return;
    this.wake(runIds);
    this.signals.send({ kind: 'runsChanged', runIds });
  }

  /** Says, on this replica alone, that there is more of a run's log. */
  logGrew(runId: string): void {
    this.ofLogs.wake(runId);
  }

  /** Calls `listener` at each change of the run until the returned function is called. */
  listen(runId: string, listener: () => void): () => void {
    return this.ofRuns.add(runId, listener);
  }

  /** As `listen`, and also when the run's log grows. */
  listenToLog(runId: string, listener: () => void): () => void {
    const removals = [this.ofRuns.add(runId, listener), this.ofLogs.add(runId, listener)];
    return () => {
      for (const remove of removals) remove();
    };
  }

  /** Calls `listener` at each change of any run until the returned function is called. */
  listenToAll(listener: () => void): () => void {
    this.ofAny.add(listener);
    return () => this.ofAny.delete(listener);
  }

  private wake(runIds: readonly string[]): void {
    for (const runId of runIds) this.ofRuns.wake(runId);
    for (const listener of [...this.ofAny]) listener();
  }
}

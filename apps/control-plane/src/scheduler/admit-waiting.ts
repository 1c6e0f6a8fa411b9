import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from '../reporting/run-changes.js';

/** Admits runs that wait for quota and fit now. Releases do so themselves; this finds what they could not. */
@Injectable()
export class AdmitWaiting {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly wakeUps: WakeUps,
    private readonly changes: RunChanges,
  ) {}

  /** How many were admitted. */
  async execute(): Promise<number> {
    const admitted = await this.runs.admitWaiting(new Date());
    this.changes.announce(admitted);
    this.wakeUps.admitted(admitted);
    return admitted.length;
  }
}

import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { PlaceRuns } from './place-runs.js';

/** Places runs for which a wake-up got lost, or for which there was no room when it came. */
@Injectable()
export class PlaceStalled {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly placeRuns: PlaceRuns,
  ) {}

  /** How many runs were waiting. */
  async execute(): Promise<number> {
    // Without the queue nobody else places, so nothing is too fresh.
    const patienceMs = this.config.queue ? this.config.sweepMs : 0;
    const stalled = await this.runs.stalled(new Date(Date.now() - patienceMs), 1000);
    if (stalled.length > 0) await this.placeRuns.execute();
    return stalled.length;
  }
}

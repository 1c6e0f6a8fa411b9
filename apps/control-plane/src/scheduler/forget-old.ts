import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { AnnounceOutcome } from '../reporting/announce-outcome.js';

const batchSize = 500;
/** A backlog is worked off over several sweeps, so that forgetting never holds up what else the sweeper does. */
const batchesMax = 10;

/** Forgets ended runs, with their events and logs, and idempotency keys that are older than the policy says. */
@Injectable()
export class ForgetOld {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly announce: AnnounceOutcome,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** How many runs and keys were forgotten. */
  async execute(): Promise<number> {
    let forgotten = 0;
    for (let batch = 0; batch < batchesMax; batch++) {
      const { runs, keys, admitted } = await this.runs.forgetOld(this.config.retention, batchSize, new Date());
      this.announce.execute({ admitted });
      forgotten += runs + keys;
      if (runs < batchSize && keys < batchSize) break;
    }
    return forgotten;
  }
}

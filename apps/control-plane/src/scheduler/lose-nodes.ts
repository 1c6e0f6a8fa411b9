import { NodeStore, RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from '../reporting/run-changes.js';

/** Gives up on nodes that are silent for T_lost, and takes back from them what may run elsewhere. */
@Injectable()
export class LoseNodes {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(NodeStore) private readonly nodes: NodeStore,
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly wakeUps: WakeUps,
    private readonly changes: RunChanges,
  ) {}

  /** How many nodes were lost and runs taken back. */
  async execute(): Promise<number> {
    const lost = await this.nodes.markLost(this.lostBefore());
    return lost.length + (await this.release());
  }

  /** Takes back the runs of nodes that are lost, or that the operator declared dead; returns how many. */
  async release(): Promise<number> {
    const { changed, admitted } = await this.runs.releaseLost(this.lostBefore(), new Date());
    this.changes.announce([...changed, ...admitted]);
    this.wakeUps.admitted(admitted);
    if (changed.length > 0) this.wakeUps.capacityFreed();
    return changed.length;
  }

  private lostBefore(): Date {
    return new Date(Date.now() - this.config.lease.lostAfterMs);
  }
}

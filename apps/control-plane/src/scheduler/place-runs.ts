import { nextRuns, place } from '@berth/core';
import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { DispatchRuns } from '../fleet/dispatch-runs.js';
import { Metrics } from '../metrics/metrics.js';
import { SingleFlight } from '../single-flight.js';
import { FairShares } from './fair-shares.js';

const batchSize = 200;

/**
 * Puts queued runs onto nodes: the batch that fairness puts first, whichever run someone was woken for. One pass at a time on this replica; passes
 * of other replicas are safe beside it, since the store commits only what still holds.
 */
@Injectable()
export class PlaceRuns {
  private readonly flight = new SingleFlight(() => this.pass());

  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly dispatch: DispatchRuns,
    private readonly metrics: Metrics,
    private readonly shares: FairShares,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** Resolves after a pass that began after the call. */
  execute(): Promise<void> {
    return this.flight.run();
  }

  /** Resolves when no pass runs any more. */
  settled(): Promise<void> {
    return this.flight.settled();
  }

  private async pass(): Promise<void> {
    for (;;) {
      const now = new Date();
      const view = await this.runs.placementView(batchSize);
      const decayed = this.shares.observe(view, performance.now());
      if (view.runs.length === 0) return;
      const runs = nextRuns(view, decayed, batchSize, now);
      const decision = place(view.fleet, runs, this.config.placement);
      const placed = await this.runs.commitPlacements([...decision.placements], [...decision.unplaced], now);
      this.metrics.placements.inc({ outcome: 'placed' }, placed.length);
      this.metrics.placements.inc({ outcome: 'noRoom' }, decision.unplaced.length);
      this.metrics.placements.inc({ outcome: 'overtaken' }, decision.placements.length - placed.length);
      this.dispatch.execute(placed);
      const placedIds = new Set(placed.map(({ lease }) => lease.runId));
      this.shares.placed(
        view.fleet,
        runs.filter(({ runId }) => placedIds.has(runId)),
      );
      const isWhole = !view.isPartial && view.runs.filter(({ fits }) => fits).length <= batchSize;
      if (isWhole || placed.length === 0) return;
    }
  }
}

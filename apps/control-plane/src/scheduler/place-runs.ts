import { nextRuns, place } from '@berth/core';
import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { DispatchRuns } from '../fleet/dispatch-runs.js';
import { Metrics } from '../metrics/metrics.js';
import { SingleFlight } from '../single-flight.js';
import { FairShares } from './fair-shares.js';
import { LayerLocality } from './layer-locality.js';

const batchSize = 400;
/** So often in a row another replica may have taken all that this one decided; the sweeper looks again later. */
const overtakenMax = 5;

/**
 * Puts queued runs onto nodes: the batch that fairness puts first, whichever run someone was woken for. One pass at a time on this replica; passes
 * of other replicas are safe beside it, since the store commits only what still holds.
 */
@Injectable()
export class PlaceRuns {
  private readonly flight = new SingleFlight(() => this.pass());
  /** Passes in a row of which nothing held. */
  private overtaken = 0;

  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly dispatch: DispatchRuns,
    private readonly metrics: Metrics,
    private readonly shares: FairShares,
    private readonly locality: LayerLocality,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** Resolves after a pass that began after the call, with the runs that it placed. */
  execute(): Promise<ReadonlySet<string>> {
    return this.flight.run();
  }

  /** Resolves when no pass runs any more. */
  settled(): Promise<void> {
    return this.flight.settled();
  }

  /** One batch; what it leaves is for the next pass, so that whoever waits for one never waits for a whole backlog. */
  private async pass(): Promise<ReadonlySet<string>> {
    const now = new Date();
    const view = await this.runs.placementView(batchSize);
    const decayed = this.shares.observe(view, performance.now());
    if (view.runs.length === 0) return new Set();
    const runs = nextRuns(view, decayed, batchSize, now);
    const images = new Map(view.runs.map(({ runId, digest }) => [runId, digest]));
    const missing = await this.locality.look(images.values());
    const decision = place(view.fleet, runs, this.config.placement, (nodeId, runId) => missing(nodeId, images.get(runId) ?? ''));
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
    this.overtaken = decision.placements.length > 0 && placed.length === 0 ? this.overtaken + 1 : 0;
    const isWhole = !view.isPartial && view.runs.filter(({ fits }) => fits).length <= batchSize;
    const isOvertaken = this.overtaken > 0 && this.overtaken < overtakenMax;
    // A look that fails is made up for by the sweeper.
    if (isOvertaken || (!isWhole && placed.length > 0)) this.execute().catch(() => {});
    return placedIds;
  }
}

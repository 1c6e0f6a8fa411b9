import { place } from '@berth/core';
import { RunStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { NodeLinks } from '../fleet/node-links.js';
import { Metrics } from '../metrics/metrics.js';
import { RunChanges } from '../reporting/run-changes.js';
import { SingleFlight } from '../single-flight.js';

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
    private readonly links: NodeLinks,
    private readonly changes: RunChanges,
    private readonly metrics: Metrics,
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
      const view = await this.runs.placementView(batchSize, now);
      if (view.runs.length === 0) return;
      const decision = place(view.fleet, view.runs, this.config.placement);
      const placed = await this.runs.commitPlacements([...decision.placements], [...decision.unplaced], now);
      this.metrics.placements.inc({ outcome: 'placed' }, placed.length);
      this.metrics.placements.inc({ outcome: 'noRoom' }, decision.unplaced.length);
      this.metrics.placements.inc({ outcome: 'overtaken' }, decision.placements.length - placed.length);
      this.dispatch(placed);
      // The view has the runs for which there is no room at its end, so a batch that holds one is the last of which anything fits.
      if (view.runs.length < batchSize || decision.unplaced.length > 0 || placed.length === 0) return;
    }
  }

  private dispatch(placed: readonly { nodeId: string; lease: { runId: string } }[]): void {
    const byNode = new Map<string, string[]>();
    for (const { nodeId, lease } of placed) byNode.set(nodeId, [...(byNode.get(nodeId) ?? []), lease.runId]);
    for (const [nodeId, runIds] of byNode) this.links.look(nodeId, runIds);
    this.changes.announce(placed.map(({ lease }) => lease.runId));
  }
}

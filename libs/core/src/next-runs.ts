import { type FairAmount, fairOrder, type TenantStanding } from './fairness.js';
import type { Fleet } from './place.js';

/** How long a run that fits nowhere waits until a node is kept free for it. */
export const starvationMs = 30_000;

/** A run that awaits a node, as its order needs it. */
export interface AwaitingRun extends FairAmount {
  readonly runId: string;
  readonly tenantId: string;
  readonly priority: number;
  readonly queuedAt: Date;
  /** Whether the roomiest node had room for it. */
  readonly fits: boolean;
}

/** What all ready nodes offer together. */
export function fleetCapacity(fleet: Fleet): FairAmount {
  const ready = fleet.nodes.filter((node) => node.state === 'ready');
  return {
    cpuMillis: ready.reduce((sum, node) => sum + node.cpuMillis, 0),
    memoryBytes: ready.reduce((sum, node) => sum + node.memoryBytes, 0),
  };
}

/**
 * The runs to place, first things first: at most `limit` in fair order, of those for which there is room and of those that have waited for room for too
 * long, which are `starved`; behind them the others, for which there is nothing to do but to say why they wait.
 */
export function nextRuns<Run extends AwaitingRun>(
  view: { readonly fleet: Fleet; readonly tenants: readonly TenantStanding[]; readonly runs: readonly Run[] },
  decayed: ReadonlyMap<string, number>,
  limit: number,
  now: Date,
): (Run & { readonly starved: boolean })[] {
  const runs = view.runs
    .map((run) => ({ ...run, starved: !run.fits && now.getTime() - run.queuedAt.getTime() >= starvationMs }))
    .sort((a, b) => b.priority - a.priority || (a.runId < b.runId ? -1 : 1));
  const candidates = runs.filter((run) => run.fits || run.starved);
  return [
    ...fairOrder(fleetCapacity(view.fleet), view.tenants, decayed, candidates, limit),
    ...runs.filter((run) => !run.fits && !run.starved),
  ];
}

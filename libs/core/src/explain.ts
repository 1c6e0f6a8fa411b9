import type { Fleet, FleetNode, PlacementRequest } from './place.js';
import { addAmounts, type QuotaAmount, quotaDimensions, type Shortage } from './quota.js';

/*
 * Why a run waits, in numbers that its tenant may see: its own quota, its own runs before it, and how many nodes refuse it for what. No node and no
 * other tenant is named.
 */

/** What keeps a run off a node. `TooSmall`: even an empty node would be; `Short`: not enough of it is free now. */
export const refusalReasons = [
  'notReady',
  'featureMissing',
  'cpuTooSmall',
  'memoryTooSmall',
  'diskTooSmall',
  'cpuShort',
  'memoryShort',
  'diskShort',
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

export interface FleetAnswer {
  /** Nodes that have room for the run now. */
  readonly fitting: number;
  /** How many nodes refuse it, by the first reason that holds in the order of `refusalReasons`; none that is zero. */
  readonly refusals: readonly { readonly reason: RefusalReason; readonly nodes: number }[];
}

/** What every node answers to a run; each counts once. It has the same notion of room as `place`. */
export function askFleet(fleet: Fleet, run: Omit<PlacementRequest, 'runId'>): FleetAnswer {
  const answers = fleet.nodes.map((node) => refusalOf(node, run));
  const count = (reason: RefusalReason | null) => answers.filter((answer) => answer === reason).length;
  return {
    fitting: count(null),
    refusals: refusalReasons.map((reason) => ({ reason, nodes: count(reason) })).filter(({ nodes }) => nodes > 0),
  };
}

/**
 * Every dimension that keeps a run waiting for quota. Order is strict, so `ahead`, what its tenant's runs before it ask for, counts as used; a run that
 * exceeds a whole limit is short of that dimension however little is used.
 */
export function quotaShortages(limit: QuotaAmount, used: QuotaAmount, ahead: QuotaAmount, requested: QuotaAmount): Shortage[] {
  const taken = addAmounts(used, ahead);
  return quotaDimensions
    .filter((dimension) => taken[dimension] + requested[dimension] > limit[dimension])
    .map((dimension) => ({ dimension, limit: limit[dimension], used: taken[dimension], requested: requested[dimension] }));
}

function refusalOf(
  node: FleetNode,
  { cpuMillis, memoryBytes, diskBytes = 0, needs }: Omit<PlacementRequest, 'runId'>,
): RefusalReason | null {
  const { reserved } = node;
  const nodeDisk = node.diskBytes ?? 0;
  if (node.state !== 'ready') return 'notReady';
  if (!needs.every((need) => node.features.includes(need))) return 'featureMissing';
  if (node.cpuMillis < cpuMillis) return 'cpuTooSmall';
  if (node.memoryBytes < memoryBytes) return 'memoryTooSmall';
  if (diskBytes > 0 && nodeDisk < diskBytes) return 'diskTooSmall';
  if (node.cpuMillis - reserved.cpuMillis < cpuMillis) return 'cpuShort';
  if (node.memoryBytes - reserved.memoryBytes < memoryBytes) return 'memoryShort';
  return diskBytes > 0 && nodeDisk - (reserved.diskBytes ?? 0) < diskBytes ? 'diskShort' : null;
}

/*
 * Placement: which node takes which run. Pure: equal inputs give equal placements, so any decision can be replayed from a log.
 */

export type NodeState = 'ready' | 'lost' | 'draining' | 'dead';

export interface FleetNode {
  readonly id: string;
  readonly state: NodeState;
  /** What the node offers. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** What it can bound its containers' writes to; 0 where it can bound none. */
  readonly diskBytes?: number;
  readonly reserved: { readonly cpuMillis: number; readonly memoryBytes: number; readonly diskBytes?: number; readonly runs: number };
  /** What works there beyond the ordinary. */
  readonly features: readonly string[];
}

/** One immutable view of all nodes. */
export interface Fleet {
  readonly nodes: readonly FleetNode[];
}

export interface PlacementRequest {
  readonly runId: string;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** 0: no limit asked for, hence no room needed. */
  readonly diskBytes?: number;
  /** Features that its node must have. */
  readonly needs: readonly string[];
  /** It has waited for so long that a node is kept free for it, where one is large enough. */
  readonly starved?: boolean;
}
export interface Placement {
  readonly runId: string;
  readonly nodeId: string;
}
/** `reason` names the exhausted dimension, and nothing about who exhausted it. */
export interface Unplaced {
  readonly runId: string;
  readonly reason: string;
}
export interface PlacementDecision {
  readonly placements: readonly Placement[];
  readonly unplaced: readonly Unplaced[];
}

/**
 * `spread`: the node that stays emptiest, so that containers share their machine with few. `pack`: the node that becomes fullest, so that large runs
 * find room and idle machines can be taken away.
 */
export type PlacementPolicy = 'spread' | 'pack';

interface Room {
  readonly node: FleetNode;
  cpuMillis: number;
  memoryBytes: number;
  diskBytes: number;
  /** For a run that has waited too long: nothing else goes there. */
  kept: boolean;
}

/**
 * Chooses a node for each run, in the order given, the best by `policy`: each placement takes its room before the next run is looked at.
 * `missingBytes`: what a node would have to fetch for a run's image; of nodes that fit alike the one that has most of it.
 * Only ready nodes count. A starved run that fits nowhere now keeps a node from those after it, so that small runs cannot hold it off for ever.
 */
export function place(
  fleet: Fleet,
  runs: readonly PlacementRequest[],
  policy: PlacementPolicy,
  missingBytes: (nodeId: string, runId: string) => number = () => 0,
): PlacementDecision {
  const rooms: Room[] = fleet.nodes
    .filter((node) => node.state === 'ready')
    .map((node) => ({
      node,
      cpuMillis: node.cpuMillis - node.reserved.cpuMillis,
      memoryBytes: node.memoryBytes - node.reserved.memoryBytes,
      diskBytes: (node.diskBytes ?? 0) - (node.reserved.diskBytes ?? 0),
      kept: false,
    }))
    .sort((a, b) => (a.node.id < b.node.id ? -1 : 1));

  const placements: Placement[] = [];
  const unplaced: Unplaced[] = [];
  for (const run of runs) {
    const room = bestRoom(rooms, run, policy, missingBytes);
    if (room === null) {
      unplaced.push({ runId: run.runId, reason: refusal(rooms, run) });
      if (run.starved === true) keepFree(rooms, run);
      continue;
    }
    room.cpuMillis -= run.cpuMillis;
    room.memoryBytes -= run.memoryBytes;
    room.diskBytes -= run.diskBytes ?? 0;
    placements.push({ runId: run.runId, nodeId: room.node.id });
  }
  return { placements, unplaced };
}

/**
 * How well a run fits a node, 0 to 18, higher is fuller: the exponential best fit of Google's datacentre schedulers as Nomad describes it
 * (`ScoreFitBinPack`): 20 - (10^free cpu share + 10^free memory share), the shares taken after placing. Exponents prefer one node filled to two half full.
 */
export function fitScore(
  capacity: { cpuMillis: number; memoryBytes: number },
  freeAfter: { cpuMillis: number; memoryBytes: number },
): number {
  const total = 10 ** (freeAfter.cpuMillis / capacity.cpuMillis) + 10 ** (freeAfter.memoryBytes / capacity.memoryBytes);
  return Math.min(18, Math.max(0, 20 - total));
}

/** A third of what fit can say: bytes to fetch send a run to another node unless that is much the worse fit. */
const pullPenaltyMax = 6;
/** Fetched in some ten seconds by a common machine; more says no more. */
const pullBytesMax = 1024 ** 3;

/** What a node loses for the bytes of an image that it lacks, 0 to 6. */
export function pullPenalty(missingBytes: number): number {
  return pullPenaltyMax * Math.min(1, missingBytes / pullBytesMax);
}

function bestRoom(
  rooms: readonly Room[],
  run: PlacementRequest,
  policy: PlacementPolicy,
  missingBytes: (nodeId: string, runId: string) => number,
): Room | null {
  let best: Room | null = null;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (const room of rooms) {
    if (room.kept || !offers(room, run)) continue;
    if (room.cpuMillis < run.cpuMillis || room.memoryBytes < run.memoryBytes || shortOfDisk(room.diskBytes, run)) continue;
    const fit = fitScore(room.node, { cpuMillis: room.cpuMillis - run.cpuMillis, memoryBytes: room.memoryBytes - run.memoryBytes });
    const score = (policy === 'pack' ? fit : -fit) - pullPenalty(missingBytes(room.node.id, run.runId));
    if (score > bestScore) {
      best = room;
      bestScore = score;
    }
  }
  return best;
}

function offers({ node }: Room, run: PlacementRequest): boolean {
  return run.needs.every((need) => node.features.includes(need));
}

/**
 * Keeps the node that will soonest have room for the run, the one with the largest part free of what it needs, from the rest of this placement: smaller
 * runs go on elsewhere, and what ends there leaves room until it fits.
 */
function keepFree(rooms: readonly Room[], run: PlacementRequest): void {
  const part = (free: number, asked: number) => (asked > 0 ? Math.min(1, free / asked) : 1);
  let best: Room | null = null;
  let bestPart = -1;
  for (const room of rooms) {
    const { node } = room;
    if (room.kept || !offers(room, run) || node.cpuMillis < run.cpuMillis || node.memoryBytes < run.memoryBytes) continue;
    if (shortOfDisk(node.diskBytes ?? 0, run)) continue;
    const free = Math.min(part(room.cpuMillis, run.cpuMillis), part(room.memoryBytes, run.memoryBytes));
    if (free > bestPart) [best, bestPart] = [room, free];
  }
  if (best !== null) best.kept = true;
}

/** A run that asks for no bound of its writes needs none of the node's disk. */
function shortOfDisk(freeBytes: number, { diskBytes = 0 }: PlacementRequest): boolean {
  return diskBytes > 0 && freeBytes < diskBytes;
}

/** The dimension that most often stands in the way; a run that exceeds every node's whole capacity is told so, since waiting cannot help it. */
function refusal(ready: readonly Room[], run: PlacementRequest): string {
  if (ready.length === 0) return 'no node is ready';
  const rooms = ready.filter((room) => offers(room, run));
  if (rooms.length === 0) return `${run.needs.join(' and ')}: no ready node offers it`;
  if (rooms.every(({ node }) => node.cpuMillis < run.cpuMillis)) return 'cpuMillis: no ready node is large enough';
  if (rooms.every(({ node }) => node.memoryBytes < run.memoryBytes)) return 'memoryBytes: no ready node is large enough';
  if (rooms.every(({ node }) => node.cpuMillis < run.cpuMillis || node.memoryBytes < run.memoryBytes)) {
    return 'cpuMillis and memoryBytes: no ready node is large enough in both';
  }
  if (rooms.every(({ node }) => shortOfDisk(node.diskBytes ?? 0, run))) return 'diskBytes: no ready node can bound so much disk';
  const shortOfCpu = rooms.filter((room) => room.cpuMillis < run.cpuMillis).length;
  const shortOfMemory = rooms.filter((room) => room.memoryBytes < run.memoryBytes).length;
  if (shortOfCpu === 0 && shortOfMemory === 0) return 'diskBytes: no node has enough free';
  return shortOfMemory > shortOfCpu ? 'memoryBytes: no node has enough free' : 'cpuMillis: no node has enough free';
}

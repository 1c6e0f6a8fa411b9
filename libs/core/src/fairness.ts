/*
 * Who is next. Tenants share the fleet by weight: of those with work, the one whose weighted share is smallest goes first, run by run (dominant resource
 * fairness, Ghodsi et al., NSDI 2011). The share that counts is what a tenant holds now and what it held lately, decayed, so that many short
 * runs weigh as much as few long ones. The memory is short on purpose: what a tenant took while nobody else wanted it must not cost it later.
 * Within a tenant: priority, then age.
 */

/** A pair of amounts by which runs and nodes are compared. */
export interface FairAmount {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

export interface TenantStanding {
  readonly tenantId: string;
  /** Its part relative to the others'; positive. */
  readonly weight: number;
  /** What its runs hold on nodes. */
  readonly held: FairAmount;
}

/** After so long, half of what a tenant held is forgotten. Below a tenth of the minute over which shares are promised. */
export const shareHalfLifeMs = 5000;

/** The largest part that `amount` is of any dimension of `capacity`; 0 of a fleet that offers nothing. */
export function dominantShare(amount: FairAmount, capacity: FairAmount): number {
  const part = (a: number, of: number) => (of > 0 ? a / of : 0);
  return Math.max(part(amount.cpuMillis, capacity.cpuMillis), part(amount.memoryBytes, capacity.memoryBytes));
}

/** The exponentially decayed mean of a share that was `previous`, and stood at `current` for the last `elapsedMs`. */
export function decayShare(previous: number, current: number, elapsedMs: number, halfLifeMs = shareHalfLifeMs): number {
  const kept = 0.5 ** (Math.max(0, elapsedMs) / halfLifeMs);
  return previous * kept + current * (1 - kept);
}

/**
 * The first `limit` of `runs` in fair order. `runs` are each tenant's in its own order, however the tenants are mixed; `decayed` is each tenant's decayed
 * share. Runs of a tenant that has no standing count as those of one that holds nothing, at weight 1.
 */
export function fairOrder<Run extends FairAmount & { readonly tenantId: string }>(
  capacity: FairAmount,
  tenants: readonly TenantStanding[],
  decayed: ReadonlyMap<string, number>,
  runs: readonly Run[],
  limit: number,
): Run[] {
  const standings = new Map(tenants.map((tenant) => [tenant.tenantId, tenant]));
  const lines = new Map<string, Line<Run>>();
  for (const run of runs) {
    const line = lines.get(run.tenantId) ?? newLine(run.tenantId, capacity, standings.get(run.tenantId), decayed.get(run.tenantId));
    line.runs.push(run);
    lines.set(run.tenantId, line);
  }
  const heap = new LineHeap([...lines.values()]);
  const ordered: Run[] = [];
  for (let line = heap.first; line !== undefined && ordered.length < limit; line = heap.first) {
    const run = line.runs[line.taken++] as Run;
    ordered.push(run);
    line.share += dominantShare(run, capacity);
    // Where nothing has a size, turns still alternate by weight.
    line.turns += 1 / line.weight;
    heap.settleFirst(line.taken === line.runs.length);
  }
  return ordered;
}

interface Line<Run> {
  readonly tenantId: string;
  readonly weight: number;
  readonly decayed: number;
  readonly runs: Run[];
  share: number;
  turns: number;
  taken: number;
}

function newLine<Run>(tenantId: string, capacity: FairAmount, standing: TenantStanding | undefined, decayed = 0): Line<Run> {
  const share = standing === undefined ? 0 : dominantShare(standing.held, capacity);
  return { tenantId, weight: standing?.weight ?? 1, decayed, runs: [], share, turns: 0, taken: 0 };
}

/** The line that is owed most stands first; equal lines stand in order of their tenants' ids. */
class LineHeap<Run> {
  constructor(private readonly lines: Line<Run>[]) {
    for (let i = (lines.length >> 1) - 1; i >= 0; i--) this.sink(i);
  }

  get first(): Line<Run> | undefined {
    return this.lines[0];
  }

  /** Puts the first line where it belongs now, or removes it when it is `spent`. */
  settleFirst(spent: boolean): void {
    if (spent) {
      const last = this.lines.pop();
      if (last !== undefined && this.lines.length > 0) this.lines[0] = last;
    }
    this.sink(0);
  }

  private sink(at: number): void {
    for (let i = at; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < this.lines.length && this.precedes(child, least)) least = child;
      if (least === i) return;
      [this.lines[i], this.lines[least]] = [this.lines[least] as Line<Run>, this.lines[i] as Line<Run>];
      i = least;
    }
  }

  private precedes(i: number, j: number): boolean {
    const [a, b] = [this.lines[i], this.lines[j]] as [Line<Run>, Line<Run>];
    const difference = (a.share + a.decayed) / a.weight - (b.share + b.decayed) / b.weight;
    if (difference !== 0) return difference < 0;
    return a.turns === b.turns ? a.tenantId < b.tenantId : a.turns < b.turns;
  }
}

/** What each tenant with work is owed of the fleet: its weight among theirs. */
export function owedShares(tenants: readonly Pick<TenantStanding, 'tenantId' | 'weight'>[]): Map<string, number> {
  const total = tenants.reduce((sum, { weight }) => sum + weight, 0);
  return new Map(tenants.map(({ tenantId, weight }) => [tenantId, weight / total]));
}

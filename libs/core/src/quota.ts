/*
 * What bounds a tenant. INVARIANT: in every dimension, used never exceeds the limit, and equals the sum of what the tenant's runs hold.
 *
 * A run takes an amount of every dimension of `quotaDimensions` when it is admitted, all or none. At its end it gives back what it merely held
 * (runs, cpu, memory, disk, pids), keeps the log bytes that it wrote until it is deleted, and turns its share of the budgets into what it spent.
 */

/** What one run takes of its tenant's quota when it is admitted. */
export interface QuotaAmount {
  readonly concurrentRuns: number;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly pids: number;
  readonly logBytes: number;
  /** Cpu-milliseconds, by what was reserved and for how long, of a calendar month (UTC): 1,000 are one cpu-second. */
  readonly monthlyCpuMs: number;
  /** Memory reserved times seconds, of a calendar month (UTC), in MiB: bytes would leave the integers that JSON keeps exact. */
  readonly monthlyMemoryMibSeconds: number;
}
export type QuotaDimension = keyof QuotaAmount;

/** In the order in which a refusal names them. */
export const quotaDimensions = [
  'concurrentRuns',
  'cpuMillis',
  'memoryBytes',
  'diskBytes',
  'pids',
  'logBytes',
  'monthlyCpuMs',
  'monthlyMemoryMibSeconds',
] as const satisfies readonly QuotaDimension[];

/** Limits that no single run takes an amount of: runs that wait for quota, and accepted submissions. */
export const tenantDimensions = ['queuedRuns', 'submissionsPerMinute'] as const;
export type LimitDimension = QuotaDimension | (typeof tenantDimensions)[number];
export const limitDimensions = [...quotaDimensions, ...tenantDimensions] as const satisfies readonly LimitDimension[];

/** A tenant's limits, or what of them is used. */
export type Quota = Readonly<Record<LimitDimension, number>>;

export interface Shortage<D extends string = QuotaDimension> {
  readonly dimension: D;
  readonly limit: number;
  readonly used: number;
  readonly requested: number;
}
/** `exceeds`: not now. `neverFits`: not even with nothing else reserved. */
export type QuotaDecision = { readonly kind: 'fits' } | ({ readonly kind: 'exceeds' | 'neverFits' } & Shortage);

/** One amount of each dimension, from what `value` says of it. */
export function amountOf(value: (dimension: QuotaDimension) => number): QuotaAmount {
  return Object.fromEntries(quotaDimensions.map((dimension) => [dimension, value(dimension)])) as unknown as QuotaAmount;
}

export const noAmount: QuotaAmount = amountOf(() => 0);

/** What a run asks for, as its admission needs it. Absent limits are not asked for. */
export interface RunDemand {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly diskBytes?: number | undefined;
  readonly pids?: number | undefined;
  /** Of each attempt's log. */
  readonly logBytes?: number | undefined;
  /** How long one attempt may take, its stop included. */
  readonly attemptMs?: number | undefined;
  readonly maxAttempts?: number | undefined;
}

/** What one run takes: of the budgets and the log bytes what all of its attempts could use, so that they can never be overspent. */
export function runAmount(demand: RunDemand): QuotaAmount {
  const { cpuMillis, memoryBytes, diskBytes = 0, pids = 0, logBytes = 0, attemptMs = 0, maxAttempts = 1 } = demand;
  return {
    concurrentRuns: 1,
    cpuMillis,
    memoryBytes,
    diskBytes,
    pids,
    logBytes: logBytes * maxAttempts,
    ...runCost({ cpuMillis, memoryBytes }, attemptMs * maxAttempts),
  };
}

const MiB = 1024 ** 2;

/** What reserving these resources for so long costs of the monthly budgets, rounded up. Never less for more. */
export function runCost(
  resources: { readonly cpuMillis: number; readonly memoryBytes: number },
  durationMs: number,
): Pick<QuotaAmount, 'monthlyCpuMs' | 'monthlyMemoryMibSeconds'> {
  return {
    monthlyCpuMs: Math.ceil((resources.cpuMillis * durationMs) / 1000),
    monthlyMemoryMibSeconds: Math.ceil((resources.memoryBytes / MiB) * (durationMs / 1000)),
  };
}

export function addAmounts(a: QuotaAmount, b: QuotaAmount): QuotaAmount {
  return amountOf((dimension) => a[dimension] + b[dimension]);
}

/** Whether `requested` fits beside `used`; if not, the first dimension that is short. A request that can never fit is told so before all else. */
export function checkQuota(limit: QuotaAmount, used: QuotaAmount, requested: QuotaAmount): QuotaDecision {
  const shortage = (dimension: QuotaDimension): Shortage => ({
    dimension,
    limit: limit[dimension],
    used: used[dimension],
    requested: requested[dimension],
  });
  const never = quotaDimensions.find((d) => requested[d] > limit[d]);
  if (never !== undefined) return { kind: 'neverFits', ...shortage(never) };
  const short = quotaDimensions.find((d) => used[d] + requested[d] > limit[d]);
  return short === undefined ? { kind: 'fits' } : { kind: 'exceeds', ...shortage(short) };
}

/** A shortage in words, for people: names the dimension and the tenant's own numbers. */
export function describeShortage(shortage: Shortage<string>): string {
  return `${shortage.dimension}: ${shortage.requested} requested, ${shortage.used} of ${shortage.limit} used`;
}

/** A calendar month (UTC) as a number that grows: what budgets are counted by. */
export function budgetMonth(at: Date): number {
  return at.getUTCFullYear() * 12 + at.getUTCMonth();
}

/** A minute since 1970: what submissions are counted by. */
export function rateMinute(at: Date): number {
  return Math.floor(at.getTime() / 60_000);
}

/** One that might give up its place. */
export interface PreemptionCandidate {
  readonly runId: string;
  readonly priority: number;
  readonly amount: QuotaAmount;
}

/**
 * Which runs make way for one of `priority` that needs `needed` where `free` is left: those of the lowest priority, of them the youngest, and no more than
 * needed. Only what is held counts: neither budgets nor logs come back by stopping a run. Empty when nothing is short, null when even all would not do.
 */
export function chooseVictims(
  free: QuotaAmount,
  needed: QuotaAmount,
  priority: number,
  candidates: readonly PreemptionCandidate[],
): PreemptionCandidate[] | null {
  const short = (left: QuotaAmount) => quotaDimensions.some((d) => needed[d] > left[d]);
  if (!short(free)) return [];
  const lower = candidates
    .filter((candidate) => candidate.priority < priority)
    .sort((a, b) => a.priority - b.priority || (a.runId < b.runId ? 1 : -1));
  let left = free;
  const taken: PreemptionCandidate[] = [];
  for (const candidate of lower) {
    if (!short(left)) break;
    taken.push(candidate);
    left = addAmounts(left, heldAmount(candidate.amount));
  }
  if (short(left)) return null;
  // The last one taken may have made some of the earlier ones needless.
  for (const candidate of [...taken].reverse()) {
    const without = amountOf((d) => left[d] - heldAmount(candidate.amount)[d]);
    if (short(without)) continue;
    left = without;
    taken.splice(taken.indexOf(candidate), 1);
  }
  return taken;
}

function heldAmount(amount: QuotaAmount): QuotaAmount {
  return { ...amount, logBytes: 0, monthlyCpuMs: 0, monthlyMemoryMibSeconds: 0 };
}

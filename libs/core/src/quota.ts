/** An amount in each dimension that a tenant's quota bounds. */
export interface QuotaAmount {
  readonly concurrentRuns: number;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}
export type QuotaDimension = keyof QuotaAmount;

/** In the order in which a refusal names them. */
export const quotaDimensions = ['concurrentRuns', 'cpuMillis', 'memoryBytes'] as const satisfies readonly QuotaDimension[];

export interface Shortage {
  readonly dimension: QuotaDimension;
  readonly limit: number;
  readonly used: number;
  readonly requested: number;
}
/** `exceeds`: not now. `neverFits`: not even with nothing else reserved. */
export type QuotaDecision = { readonly kind: 'fits' } | ({ readonly kind: 'exceeds' | 'neverFits' } & Shortage);

export const noAmount: QuotaAmount = { concurrentRuns: 0, cpuMillis: 0, memoryBytes: 0 };

/** What one run reserves. */
export function runAmount(resources: { readonly cpuMillis: number; readonly memoryBytes: number }): QuotaAmount {
  return { concurrentRuns: 1, cpuMillis: resources.cpuMillis, memoryBytes: resources.memoryBytes };
}

export function addAmounts(a: QuotaAmount, b: QuotaAmount): QuotaAmount {
  return {
    concurrentRuns: a.concurrentRuns + b.concurrentRuns,
    cpuMillis: a.cpuMillis + b.cpuMillis,
    memoryBytes: a.memoryBytes + b.memoryBytes,
  };
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
export function describeShortage(shortage: Shortage): string {
  return `${shortage.dimension}: ${shortage.requested} requested, ${shortage.used} of ${shortage.limit} used`;
}

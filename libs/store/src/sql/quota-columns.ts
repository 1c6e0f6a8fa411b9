import { amountOf, type QuotaAmount, type QuotaDimension, quotaDimensions } from '@berth/core';

/*
 * How the dimensions of libs/core's quota stand in the tables, and the pieces of SQL that are the same in each of them. A tenant's row has
 * `quota_NAME` and `used_NAME`; a run's has what it takes when it is reserved.
 */

export interface DimensionColumns {
  readonly dimension: QuotaDimension;
  /** Behind `quota_` and `used_` in tenants. */
  readonly name: string;
  /** What a run takes, over its row. */
  readonly run: string;
  /** Counted by the tenant's `budget_month`. */
  readonly monthly: boolean;
}

const names: Record<QuotaDimension, readonly [name: string, run: string]> = {
  concurrentRuns: ['concurrent_runs', '1'],
  cpuMillis: ['cpu_millis', 'cpu_millis'],
  memoryBytes: ['memory_bytes', 'memory_bytes'],
  diskBytes: ['disk_bytes', 'disk_bytes'],
  pids: ['pids', 'pids'],
  logBytes: ['log_bytes', 'log_bytes'],
  monthlyCpuMs: ['monthly_cpu_ms', 'budget_cpu_ms'],
  monthlyMemoryMibSeconds: ['monthly_memory_mib_seconds', 'budget_memory_mib_seconds'],
};

export const dimensionColumns: readonly DimensionColumns[] = quotaDimensions.map((dimension) => {
  const [name, run] = names[dimension];
  return { dimension, name, run, monthly: dimension.startsWith('monthly') };
});

/** The dimensions of which a run has a column of its own. */
export const runColumns: readonly DimensionColumns[] = dimensionColumns.filter(({ run }) => run !== '1');

/** One piece of SQL for each dimension. */
export function each(
  separator: string,
  piece: (columns: DimensionColumns, index: number) => string,
  columns: readonly DimensionColumns[] = dimensionColumns,
): string {
  return columns.map(piece).join(separator);
}

/** What is used of a dimension, over a tenant's row; `month` is an expression for the current month: amounts of an older one count as zero. */
export function usedNow({ name, monthly }: DimensionColumns, month: string): string {
  return monthly ? `CASE WHEN tenants.budget_month >= ${month} THEN tenants.used_${name} ELSE 0 END` : `tenants.used_${name}`;
}

/** Submissions accepted in the current minute, over a tenant's row. */
export function submissionsNow(minute: string): string {
  return `CASE WHEN tenants.rate_minute >= ${minute} THEN tenants.rate_submissions ELSE 0 END`;
}

/** Reads one amount of each dimension from a row whose columns are `PREFIX_NAME`. */
export function readAmount(row: Readonly<Record<string, unknown>>, prefix: 'quota' | 'used' | 'sum'): QuotaAmount {
  return amountOf((dimension) => Number(row[`${prefix}_${names[dimension][0]}`]));
}

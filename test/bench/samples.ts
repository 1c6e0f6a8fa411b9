/** What a benchmark prints of one series: samples in milliseconds and their percentiles. */
export interface Summary {
  readonly count: number;
  readonly meanMs: number;
  readonly minMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly samplesMs: readonly number[];
}

/** Percentiles by nearest rank. Throws on an empty series: a benchmark without samples has nothing to say. */
export function summarize(samplesMs: readonly number[]): Summary {
  if (samplesMs.length === 0) throw new Error('no samples');
  const sorted = [...samplesMs].sort((a, b) => a - b);
  const rank = (p: number) => round(sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)] as number);
  return {
    count: sorted.length,
    meanMs: round(sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length),
    minMs: rank(0.0001),
    p50Ms: rank(0.5),
    p90Ms: rank(0.9),
    p99Ms: rank(0.99),
    samplesMs: samplesMs.map(round),
  };
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** One line of a benchmark's output. */
export function print(record: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(record)}\n`);
}

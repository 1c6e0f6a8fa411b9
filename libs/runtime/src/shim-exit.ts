/** How a container ended: the content of a shim's exit.json (docs/contracts.md). Times are RFC 3339 in UTC. */
export interface ShimExit {
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly oomKilled: boolean;
  readonly stoppedBy: 'request' | 'timeout' | 'lease' | null;
  readonly startedAt: string | null;
  readonly finishedAt: string;
  readonly peakMemoryBytes: number | null;
  readonly cpuTimeUs: number | null;
  readonly logBytes: number;
  readonly logDroppedBytes: number;
}

const stoppers: readonly unknown[] = ['request', 'timeout', 'lease', null];

/** Reads exit.json. Throws a TypeError that names the field which is not as agreed. */
export function parseShimExit(value: unknown): ShimExit {
  const source = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const fail = (field: string): never => {
    throw new TypeError(`the shim's exit record has no usable ${field}`);
  };
  const count = (field: string): number => {
    const found = source[field];
    return Number.isSafeInteger(found) && (found as number) >= 0 ? (found as number) : fail(field);
  };
  const countOrNull = (field: string): number | null => (source[field] === null ? null : count(field));
  const time = (field: string): string => {
    const found = source[field];
    return typeof found === 'string' && !Number.isNaN(Date.parse(found)) ? found : fail(field);
  };
  if (typeof source.oomKilled !== 'boolean') fail('oomKilled');
  if (!stoppers.includes(source.stoppedBy)) fail('stoppedBy');
  return {
    exitCode: countOrNull('exitCode'),
    signal: countOrNull('signal'),
    oomKilled: source.oomKilled as boolean,
    stoppedBy: source.stoppedBy as ShimExit['stoppedBy'],
    startedAt: source.startedAt === null ? null : time('startedAt'),
    finishedAt: time('finishedAt'),
    peakMemoryBytes: countOrNull('peakMemoryBytes'),
    cpuTimeUs: countOrNull('cpuTimeUs'),
    logBytes: count('logBytes'),
    logDroppedBytes: count('logDroppedBytes'),
  };
}

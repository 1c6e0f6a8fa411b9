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
  /** Null from shims that do not tell. */
  readonly usage: ShimUsage | null;
}

const usageFields = [
  'cpuUserUs',
  'cpuSystemUs',
  'cpuPeriods',
  'cpuThrottledPeriods',
  'cpuThrottledUs',
  'oomKills',
  'readBytes',
  'writtenBytes',
  'peakPids',
] as const;
/** What the container's cgroup counted; null: the kernel does not. */
export type ShimUsage = Readonly<Record<(typeof usageFields)[number], number | null>>;

const stoppers: readonly unknown[] = ['request', 'timeout', 'lease', null];

/** Reads exit.json. Throws a TypeError that names the field which is not as agreed. */
export function parseShimExit(value: unknown): ShimExit {
  const source = membersOf(value);
  const fail = (field: string): never => {
    throw new TypeError(`the shim's exit record has no usable ${field}`);
  };
  const count = (field: string): number => countOf(source, field, fail);
  const countOrNull = (field: string): number | null => (source[field] === null ? null : count(field));
  const time = (field: string): string => {
    const found = source[field];
    return typeof found === 'string' && !Number.isNaN(Date.parse(found)) ? found : fail(field);
  };
  const usage = (): ShimUsage => {
    const found = membersOf(source.usage);
    const counts = usageFields.map((field) => [field, found[field] === null ? null : countOf(found, field, () => fail(`usage.${field}`))]);
    return Object.fromEntries(counts) as ShimUsage;
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
    usage: source.usage === undefined ? null : usage(),
  };
}

function countOf(source: Record<string, unknown>, field: string, fail: (field: string) => never): number {
  const found = source[field];
  return Number.isSafeInteger(found) && (found as number) >= 0 ? (found as number) : fail(field);
}

function membersOf(value: unknown): Record<string, unknown> {
  return (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
}

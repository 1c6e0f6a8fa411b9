import type { Problem } from '@berth/wire';
import { formatDuration, formatSize } from './units.js';

/** A refusal for people: what is wrong, each bad field with its fix, the quota's numbers. Several lines without a newline at the end. */
export function describeProblem(problem: Problem, retryAfterSeconds: number | null): string {
  const lines = [`error: ${problem.detail ?? problem.title}`];
  for (const { field, message } of problem.errors ?? []) lines.push(`  ${field}: ${message}`);
  if (problem.dimension !== undefined) {
    const { dimension, limit, used, requested } = problem;
    const numbers = Object.entries({ limit, used, requested }).filter((entry): entry is [string, number] => entry[1] !== undefined);
    lines.push(`  ${dimension}: ${numbers.map(([name, value]) => `${name} ${formatQuota(dimension, value)}`).join(', ')}`);
  }
  if (problem.code === 'unauthorized') lines.push('  check BERTH_API_KEY, or the keys.json of BERTH_HOME');
  if (retryAfterSeconds !== null) lines.push(`  try again in ${retryAfterSeconds} s`);
  if (problem.status >= 500 && problem.requestId !== undefined) lines.push(`  request id ${problem.requestId}`);
  return lines.join('\n');
}

/** A quota's number in the unit that its flag takes. */
export function formatQuota(dimension: NonNullable<Problem['dimension']>, value: number): string {
  switch (dimension) {
    case 'memoryBytes':
    case 'diskBytes':
    case 'logBytes':
      return value === Number.MAX_SAFE_INTEGER ? 'unlimited' : formatSize(value);
    case 'timeoutMs':
      return formatDuration(value);
  }
  if (value === Number.MAX_SAFE_INTEGER) return 'unlimited';
  switch (dimension) {
    case 'cpuMillis':
      return `${value / 1000} cpus`;
    case 'concurrentRuns':
    case 'queuedRuns':
      return `${value} runs`;
    case 'pids':
      return `${value} processes`;
    case 'submissionsPerMinute':
      return `${value} a minute`;
    case 'monthlyCpuMs':
      return `${Math.round(value / 36_000) / 100} cpu hours`;
    case 'monthlyMemoryMibSeconds':
      return `${Math.round(value / 36_864) / 100} GiB hours`;
  }
}

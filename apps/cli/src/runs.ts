import { describeShortage } from '@berth/core';
import { type Explanation, type Quote, type Run, run, runList } from '@berth/wire';
import { type ApiClient, longPatienceMs } from './api/api-client.js';
import { exitCodes, UsageError } from './failures.js';
import { nameLabel } from './submission/run-flags.js';
import { formatDuration, formatSize } from './units.js';

const waitMs = 60_000;
const terminal: ReadonlySet<Run['state']> = new Set(['succeeded', 'failed', 'canceled']);

export function isTerminal({ state }: Run): boolean {
  return terminal.has(state);
}

/** The run that an operand names: its id, or the latest one that was given this `--name`. */
export async function findRun(client: ApiClient, operand: string): Promise<Run> {
  if (/^run_[0-9a-z]{26}$/.test(operand)) return client.json(run, `/v1/runs/${operand}`);
  const { items } = await client.json(runList, '/v1/runs', { query: { label: `${nameLabel}=${operand}`, limit: 1 } });
  const [latest] = items;
  if (latest === undefined) throw new UsageError(`no run is named ${operand}`);
  return latest;
}

/** Waits until the run has ended, or until `deadlineMs` on the monotonic clock; answers it as it then stands. */
export async function waitForEnd(client: ApiClient, runId: string, deadlineMs = Number.POSITIVE_INFINITY): Promise<Run> {
  for (;;) {
    const timeoutMs = Math.max(0, Math.round(Math.min(waitMs, deadlineMs - performance.now())));
    const current = await client.json(run, `/v1/runs/${runId}/wait`, { query: { timeoutMs }, patienceMs: longPatienceMs });
    if (isTerminal(current) || performance.now() >= deadlineMs) return current;
  }
}

/** The exit code that stands for a run that has ended: the container's own, 128 + signal, or 125 when there is none. */
export function exitCodeOf({ state, exitCode, signal }: Run): number {
  if (exitCode !== null) return exitCode;
  if (signal !== null) return 128 + signal;
  return state === 'succeeded' ? exitCodes.ok : exitCodes.berth;
}

/** One line about an end that the container's exit code alone does not explain; null when it does. */
export function explainEnd({ id, state, failure, startedAt }: Run): string | null {
  if (state === 'canceled' && failure !== null) return `${id} was stopped (${failure.code}): ${failure.message}`;
  if (state === 'canceled') return startedAt === null ? `${id} was canceled before it started` : `${id} was canceled`;
  if (failure === null || failure.code === 'nonZeroExit') return null;
  return `${id} failed (${failure.code}, ${failure.blame === 'user' ? 'the container' : 'the platform'}): ${failure.message}`;
}

/** A run's state for a table: with what a queued run waits for, and how a failed one ended. */
export function describeState(current: Run): string {
  const { state, waitingFor, failure } = current;
  if (state === 'queued' && waitingFor !== null) return `queued (${waitingFor})`;
  if (state === 'canceled' && failure !== null) return `canceled (${failure.code})`;
  if (state !== 'failed') return state;
  return failure === null || failure.code === 'nonZeroExit' ? `failed (${exitCodeOf(current)})` : `failed (${failure.code})`;
}

/** Why a run waits, for people: the reason, and below it what there is of its place, shortages, remedies and start. */
export function describeExplanation(explained: Explanation, nowMs: number): string {
  const { runId, state, reason } = explained;
  return [`${runId} is ${state}: ${reason}`, ...standingLines(explained, nowMs)].join('\n');
}

/** What would become of a run and what it would take, for people. */
export function describeQuote(quoted: Quote, nowMs: number): string {
  const { digest, spec, cost, pull } = quoted;
  const { cpuMillis, memoryBytes } = spec.resources;
  return [
    quoted.waitingFor === 'quota' ? quoted.reason : `would be admitted at once: ${quoted.reason}`,
    ...standingLines(quoted, nowMs),
    `image   ${digest}`,
    `pull    ${formatSize(pull.bytes)} in ${pull.layers} ${pull.layers === 1 ? 'layer' : 'layers'}, at most`,
    `holds   ${cpuMillis / 1000} cpus, ${formatSize(memoryBytes)} of memory`,
    `budget  ${cost.monthlyCpuMs / 1000} cpu-seconds and ${cost.monthlyMemoryMibSeconds} MiB-seconds of memory, at most`,
  ].join('\n');
}

function standingLines(explained: Omit<Explanation, 'runId' | 'state'>, nowMs: number): string[] {
  const { line, shortages, remedies, estimatedStartAt } = explained;
  const rest = shortages.slice(1).map((short) => `also short: ${describeShortage(short)}`);
  const place =
    line === null || line.length === 1 ? [] : [`place ${line.place} of ${line.length} of yours that wait for ${explained.waitingFor}`];
  const helps = remedies.map((remedy, at) => `${at === 0 ? 'until' : '   or'} ${remedy}`);
  const inMs = estimatedStartAt === null ? null : Math.max(0, Date.parse(estimatedStartAt) - nowMs);
  const start = inMs === null ? [] : [inMs < 1000 ? 'estimated start: now' : `estimated start: in ${formatDuration(inMs)}`];
  return [...rest, ...place, ...helps, ...start].map((text) => `  ${text}`);
}

/** How long the run ran, or has been running at `nowMs`; empty before it started. */
export function describeDuration({ startedAt, finishedAt }: Run, nowMs: number): string {
  if (startedAt === null) return '';
  return formatDuration((finishedAt === null ? nowMs : Date.parse(finishedAt)) - Date.parse(startedAt));
}

import type { Quote, Run } from '@berth/wire';
import { describe, expect, it } from 'vitest';
import { describeDuration, describeExplanation, describeQuote, describeState, exitCodeOf, explainEnd } from './runs.js';

const run = (more: Partial<Run>): Run =>
  ({
    id: 'run_1',
    state: 'failed',
    waitingFor: null,
    exitCode: null,
    signal: null,
    failure: null,
    startedAt: null,
    finishedAt: null,
    ...more,
  }) as Run;
const failure = (code: NonNullable<Run['failure']>['code'], blame: 'user' | 'platform'): Run['failure'] => ({
  code,
  blame,
  message: 'so it was',
});

describe('the exit code of a run', () => {
  it.each<[Partial<Run>, number]>([
    [{ state: 'succeeded', exitCode: 0 }, 0],
    [{ exitCode: 37 }, 37],
    [{ signal: 9 }, 137],
    [{ exitCode: 143, signal: 15 }, 143],
    [{ failure: failure('imagePullFailed', 'platform') }, 125],
    [{ state: 'canceled' }, 125],
    [{ state: 'canceled', signal: 15 }, 143],
  ])('%j is %i', (more, code) => {
    expect(exitCodeOf(run(more))).toBe(code);
  });
});

describe('the end of a run', () => {
  it('is explained unless the exit code says it all', () => {
    expect(explainEnd(run({ state: 'succeeded', exitCode: 0 }))).toBeNull();
    expect(explainEnd(run({ exitCode: 1, failure: failure('nonZeroExit', 'user') }))).toBeNull();
    expect(explainEnd(run({ signal: 9, failure: failure('outOfMemory', 'user') }))).toBe(
      'run_1 failed (outOfMemory, the container): so it was',
    );
    expect(explainEnd(run({ failure: failure('nodeLost', 'platform') }))).toBe('run_1 failed (nodeLost, the platform): so it was');
    expect(explainEnd(run({ state: 'canceled', failure: failure('preempted', 'user') }))).toBe('run_1 was stopped (preempted): so it was');
    expect(explainEnd(run({ state: 'canceled' }))).toBe('run_1 was canceled before it started');
    expect(explainEnd(run({ state: 'canceled', startedAt: '2026-01-01T00:00:00Z' }))).toBe('run_1 was canceled');
  });
});

it('an explanation names the reason first, then what else is short, the place, what helps and when', () => {
  const short = { dimension: 'cpuMillis' as const, limit: 1000, used: 900, requested: 500 };
  const explained = {
    runId: 'run_1',
    state: 'queued' as const,
    waitingFor: 'quota' as const,
    reason: 'waits for quota: so it is',
    line: { place: 2, length: 3 },
    shortages: [short, { ...short, dimension: 'pids' as const }],
    nodes: null,
    remedies: ['one ends', 'a month begins'],
    estimatedStartAt: '2026-01-01T00:01:30Z',
  };
  expect(describeExplanation(explained, Date.parse('2026-01-01T00:00:00Z')).split('\n')).toEqual([
    'run_1 is queued: waits for quota: so it is',
    '  also short: pids: 500 requested, 900 of 1000 used',
    '  place 2 of 3 of yours that wait for quota',
    '  until one ends',
    '     or a month begins',
    '  estimated start: in 1m 30s',
  ]);
});

it('a quote says when and why, then what the run would take', () => {
  const spec = { resources: { cpuMillis: 500, memoryBytes: 64 * 1024 ** 2 } } as Quote['spec'];
  const quoted: Quote = {
    image: 'app',
    digest: 'sha256:abc',
    spec,
    waitingFor: 'capacity',
    reason: 'a node has room',
    line: { place: 1, length: 1 },
    shortages: [],
    nodes: null,
    remedies: [],
    estimatedStartAt: '2026-01-01T00:00:00Z',
    cost: { monthlyCpuMs: 30_500, monthlyMemoryMibSeconds: 3840 },
    pull: { bytes: 5 * 1024 ** 2, layers: 1 },
  };
  expect(describeQuote(quoted, Date.parse('2026-01-01T00:00:00Z')).split('\n')).toEqual([
    'would be admitted at once: a node has room',
    '  estimated start: now',
    'image   sha256:abc',
    'pull    5 MiB in 1 layer, at most',
    'holds   0.5 cpus, 64 MiB of memory',
    'budget  30.5 cpu-seconds and 3840 MiB-seconds of memory, at most',
  ]);
  const waiting = describeQuote({ ...quoted, waitingFor: 'quota', reason: 'waits for quota: pids' }, 0);
  expect(waiting.split('\n')[0]).toBe('waits for quota: pids');
});

describe('a row of ps', () => {
  it('tells why a run waits and how it failed', () => {
    expect(describeState(run({ state: 'queued', waitingFor: 'quota' }))).toBe('queued (quota)');
    expect(describeState(run({ state: 'running' }))).toBe('running');
    expect(describeState(run({ exitCode: 3, failure: failure('nonZeroExit', 'user') }))).toBe('failed (3)');
    expect(describeState(run({ signal: 9, failure: failure('timeout', 'user') }))).toBe('failed (timeout)');
  });

  it('tells how long it ran, or has been running', () => {
    const startedAt = '2026-01-01T00:00:00Z';
    expect(describeDuration(run({}), 0)).toBe('');
    expect(describeDuration(run({ startedAt, finishedAt: '2026-01-01T00:00:02Z' }), 0)).toBe('2s');
    expect(describeDuration(run({ startedAt }), Date.parse(startedAt) + 61_000)).toBe('1m 1s');
  });
});

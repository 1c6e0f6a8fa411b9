import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ExitFact,
  exitFailure,
  isTerminal,
  lifecycleStates,
  nextStates,
  type RunFact,
  type RunStanding,
  transition,
} from './run-lifecycle.js';

const exit: fc.Arbitrary<ExitFact> = fc.record({
  exitCode: fc.option(fc.constantFrom(0, 1, 37, 137)),
  signal: fc.option(fc.constantFrom(9, 15)),
  oomKilled: fc.boolean(),
  stoppedBy: fc.option(fc.constantFrom('request' as const, 'timeout' as const, 'lease' as const)),
});
const failure = { code: 'imagePullFailed', message: 'no', blame: 'user' } as const;
const fact: fc.Arbitrary<RunFact> = fc.oneof(
  fc.constantFrom<RunFact>(
    { kind: 'placed' },
    { kind: 'preparing' },
    { kind: 'running' },
    { kind: 'stopping' },
    { kind: 'stopped' },
    { kind: 'cancel' },
  ),
  exit.map((record) => ({ kind: 'exited' as const, ...record })),
  fc.record({ kind: fc.constant('failed' as const), failure: fc.constant(failure), retryable: fc.boolean() }),
  fc.record({ kind: fc.constant('lost' as const), replace: fc.boolean() }),
);
const standing: fc.Arbitrary<RunStanding> = fc.record({
  state: fc.constantFrom(...lifecycleStates),
  attempt: fc.nat(3),
  maxAttempts: fc.integer({ min: 1, max: 3 }),
  cancelRequested: fc.boolean(),
  preemptedFor: fc.constantFrom(null, 'run_other'),
});

/** Lives a whole life by the table and returns every standing on the way. */
function live(maxAttempts: number, facts: readonly RunFact[]): RunStanding[] {
  const path: RunStanding[] = [{ state: 'queued', attempt: 0, maxAttempts, cancelRequested: false, preemptedFor: null }];
  for (const next of facts) {
    const now = path.at(-1);
    if (now === undefined) break;
    const made = transition(now, next);
    if (made.kind === 'moved') path.push({ ...now, state: made.state, attempt: now.attempt + (next.kind === 'placed' ? 1 : 0) });
    else if (made.kind === 'cancelRequested') path.push({ ...now, cancelRequested: true });
  }
  return path;
}

const running: RunStanding = { state: 'running', attempt: 1, maxAttempts: 1, cancelRequested: false, preemptedFor: null };
const natural: ExitFact = { exitCode: 0, signal: null, oomKilled: false, stoppedBy: null };

describe('run lifecycle', () => {
  it('never changes a terminal state', () => {
    fc.assert(
      fc.property(standing, fact, (run, next) => {
        fc.pre(isTerminal(run.state));
        expect(transition(run, next)).toEqual({ kind: 'unchanged' });
      }),
    );
  });

  it('moves only along the table, and never to where it already is', () => {
    fc.assert(
      fc.property(standing, fact, (run, next) => {
        const made = transition(run, next);
        if (made.kind !== 'moved') return;
        expect(nextStates[run.state]).toContain(made.state);
        expect(made.state).not.toBe(run.state);
      }),
    );
  });

  it('places at most maxAttempts times, whatever happens', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.array(fact, { maxLength: 60 }), (maxAttempts, facts) => {
        for (const run of live(maxAttempts, facts)) expect(run.attempt).toBeLessThanOrEqual(maxAttempts);
      }),
    );
  });

  it('ends, in one terminal state, once the attempts are used up or it was cancelled', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.array(fact, { maxLength: 30 }), (maxAttempts, facts) => {
        const rest = Array.from({ length: maxAttempts }, (): RunFact[] => [
          { kind: 'placed' },
          { kind: 'running' },
          { kind: 'exited', ...natural, exitCode: 1 },
        ]);
        const path = live(maxAttempts, [...facts, ...rest.flat()]);
        expect(isTerminal(path.at(-1)?.state ?? 'queued')).toBe(true);
        expect(path.filter((run) => isTerminal(run.state))).toHaveLength(1);
      }),
    );
  });

  it('changes nothing when a report is repeated', () => {
    fc.assert(
      fc.property(standing, fact, (run, next) => {
        const made = transition(run, next);
        fc.pre(made.kind === 'moved' && made.state !== 'queued');
        if (made.kind !== 'moved') return;
        expect(transition({ ...run, state: made.state }, next)).toEqual({ kind: 'unchanged' });
      }),
    );
  });

  it('blames and explains every failure, and nothing else', () => {
    fc.assert(
      fc.property(standing, fact, (run, next) => {
        const made = transition(run, next);
        if (made.kind !== 'moved') return;
        expect(made.failure !== null).toBe(
          made.state === 'failed' || made.state === 'queued' || (made.state === 'canceled' && run.preemptedFor !== null),
        );
        expect(made.failure?.code === 'preempted').toBe(made.state === 'canceled' && run.preemptedFor !== null);
      }),
    );
  });

  it('lets a natural exit beat a racing cancel', () => {
    const cancelled = { ...running, cancelRequested: true };
    expect(transition(cancelled, { kind: 'exited', ...natural })).toEqual({ kind: 'moved', state: 'succeeded', failure: null });
    expect(transition(cancelled, { kind: 'exited', ...natural, exitCode: 3 })).toMatchObject({
      state: 'failed',
      failure: { code: 'nonZeroExit' },
    });
    expect(transition(cancelled, { kind: 'exited', ...natural, stoppedBy: 'request', exitCode: null, signal: 15 })).toMatchObject({
      state: 'canceled',
    });
    expect(transition(cancelled, { kind: 'exited', ...natural, stoppedBy: 'request' })).toMatchObject({ state: 'canceled' });
  });

  it('cancels a queued run at once and notes the wish for any other, once', () => {
    expect(transition({ ...running, state: 'queued' }, { kind: 'cancel' })).toMatchObject({ state: 'canceled' });
    expect(transition(running, { kind: 'cancel' })).toEqual({ kind: 'cancelRequested' });
    expect(transition({ ...running, cancelRequested: true }, { kind: 'cancel' })).toEqual({ kind: 'unchanged' });
  });

  it('never retries a cancelled run', () => {
    fc.assert(
      fc.property(standing, fact, (run, next) => {
        const made = transition({ ...run, cancelRequested: true }, next);
        if (made.kind === 'moved') expect(made.state).not.toBe('queued');
      }),
    );
  });

  it.each([
    [{ exitCode: 0 }, null, null],
    [{ exitCode: 0, oomKilled: true }, null, null],
    [{ exitCode: 0, stoppedBy: 'timeout' }, 'timeout', 'user'],
    [{ exitCode: null, signal: 9, stoppedBy: 'timeout', oomKilled: true }, 'timeout', 'user'],
    [{ exitCode: 0, stoppedBy: 'lease' }, 'nodeLost', 'platform'],
    [{ exitCode: 0, stoppedBy: 'request' }, 'internal', 'platform'],
    [{ exitCode: null, signal: 9, oomKilled: true }, 'outOfMemory', 'user'],
    [{ exitCode: 137, oomKilled: true }, 'outOfMemory', 'user'],
    [{ exitCode: null, signal: 11 }, 'signaled', 'user'],
    [{ exitCode: 37 }, 'nonZeroExit', 'user'],
    [{ exitCode: null }, 'internal', 'platform'],
  ] as const)('reads the exit %o as %s', (change, code, blame) => {
    const made = exitFailure({ ...natural, ...change });
    expect(made?.code ?? null).toBe(code);
    expect(made?.blame ?? null).toBe(blame);
  });

  it('returns a run to the queue while attempts remain, and fails it when they do not or a retry is no use', () => {
    const exited: RunFact = { kind: 'exited', ...natural, exitCode: 1 };
    expect(transition({ ...running, maxAttempts: 2 }, exited)).toMatchObject({ state: 'queued', failure: { code: 'nonZeroExit' } });
    expect(transition(running, exited)).toMatchObject({ state: 'failed' });
    expect(transition({ ...running, state: 'preparing', maxAttempts: 2 }, { kind: 'failed', failure, retryable: false })).toMatchObject({
      state: 'failed',
      failure,
    });
    expect(transition({ ...running, maxAttempts: 2 }, { kind: 'lost', replace: true })).toMatchObject({
      state: 'queued',
      failure: { code: 'nodeLost' },
    });
    expect(transition({ ...running, maxAttempts: 2 }, { kind: 'lost', replace: false })).toMatchObject({
      state: 'failed',
      failure: { code: 'nodeLost' },
    });
  });
});

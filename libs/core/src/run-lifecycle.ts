/*
 * The life of a run. INVARIANTS
 *   - a terminal state never changes;
 *   - every change of state is an entry of `nextStates`;
 *   - a natural exit beats a racing cancel: what the kernel reported is what the run became;
 *   - attempts never exceed `maxAttempts`.
 */

/** The states of a run, in the order of its life. */
export const lifecycleStates = ['queued', 'placed', 'preparing', 'running', 'stopping', 'succeeded', 'failed', 'canceled'] as const;
export type RunState = (typeof lifecycleStates)[number];
export type TerminalState = 'succeeded' | 'failed' | 'canceled';

/** The one table of moves. Reports may be lost with a node's disk, so a state may be skipped but never revisited within an attempt. */
export const nextStates: { readonly [S in RunState]: readonly RunState[] } = {
  queued: ['placed', 'canceled'],
  placed: ['preparing', 'running', 'stopping', 'queued', 'succeeded', 'failed', 'canceled'],
  preparing: ['running', 'stopping', 'queued', 'succeeded', 'failed', 'canceled'],
  running: ['stopping', 'queued', 'succeeded', 'failed', 'canceled'],
  stopping: ['queued', 'succeeded', 'failed', 'canceled'],
  succeeded: [],
  failed: [],
  canceled: [],
};

export function isTerminal(state: RunState): state is TerminalState {
  return nextStates[state].length === 0;
}

/** Why a run or an attempt did not succeed. `user`: the doing of the container or of its tenant; `platform`: ours. */
export interface RunFailure {
  readonly code:
    | 'nonZeroExit'
    | 'signaled'
    | 'outOfMemory'
    | 'timeout'
    | 'imagePullFailed'
    | 'startFailed'
    | 'nodeLost'
    | 'preempted'
    | 'internal';
  readonly message: string;
  readonly blame: 'user' | 'platform';
}

/** How a container ended, as its shim recorded it. */
export interface ExitFact {
  readonly exitCode: number | null;
  readonly signal: number | null;
  /** The kernel killed something in the container for memory. */
  readonly oomKilled: boolean;
  /** Who asked for the stop; null when the container ended by itself. */
  readonly stoppedBy: 'request' | 'timeout' | 'lease' | null;
}

/** Something that happened to a run. Facts about an attempt must already be checked against the run's epoch. */
export type RunFact =
  | { readonly kind: 'placed' }
  | { readonly kind: 'preparing' }
  | { readonly kind: 'running' }
  | { readonly kind: 'stopping' }
  | ({ readonly kind: 'exited' } & ExitFact)
  /** The attempt failed before its container ran. */
  | { readonly kind: 'failed'; readonly failure: RunFailure; readonly retryable: boolean }
  /** The attempt was given up before its container ran. */
  | { readonly kind: 'stopped' }
  /** The node is gone, and the attempt has provably stopped or an operator says so. `replace`: another attempt may follow. */
  | { readonly kind: 'lost'; readonly replace: boolean }
  | { readonly kind: 'cancel' };

/** What a decision needs to know of a run. `attempt` counts placements so far. */
export interface RunStanding {
  readonly state: RunState;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly cancelRequested: boolean;
  /** The run of its tenant that it was asked to stop for; null when it makes way for none. */
  readonly preemptedFor: string | null;
}

/**
 * `unchanged`: nothing to write. `cancelRequested`: only the wish is noted. `moved`: the state changes; `failure` is the attempt's, and the
 * run's too when `state` is terminal; a canceled one has it only where it made way for another run. A move to queued is a retry.
 */
export type Transition =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'cancelRequested' }
  | { readonly kind: 'moved'; readonly state: RunState; readonly failure: RunFailure | null };

const unchanged: Transition = { kind: 'unchanged' };

/** What a fact makes of a run. Total: a fact that the state does not expect (late, repeated) changes nothing. */
export function transition(run: RunStanding, fact: RunFact): Transition {
  const next = decide(run, fact);
  if (next.kind !== 'moved') return next;
  return nextStates[run.state].includes(next.state) ? next : unchanged;
}

function decide(run: RunStanding, fact: RunFact): Transition {
  switch (fact.kind) {
    case 'placed':
      return run.attempt < run.maxAttempts ? moved(fact.kind) : unchanged;
    case 'preparing':
    case 'running':
    case 'stopping':
      return moved(fact.kind);
    case 'cancel':
      return requestCancel(run);
    case 'exited':
      return endAttempt(run, fact);
    case 'failed':
      return run.cancelRequested ? canceled(run) : failOrRetry(run, fact.failure, fact.retryable);
    case 'stopped':
      return run.cancelRequested
        ? canceled(run)
        : failOrRetry(run, { code: 'internal', message: 'the node gave the attempt up before it started', blame: 'platform' }, true);
    case 'lost':
      return run.cancelRequested
        ? canceled(run)
        : failOrRetry(run, { code: 'nodeLost', message: 'the node was lost', blame: 'platform' }, fact.replace);
  }
}

function requestCancel(run: RunStanding): Transition {
  if (run.state === 'queued') return canceled(run);
  return isTerminal(run.state) || run.cancelRequested ? unchanged : { kind: 'cancelRequested' };
}

function endAttempt(run: RunStanding, exit: ExitFact): Transition {
  if (run.cancelRequested && exit.stoppedBy === 'request') return canceled(run);
  const failure = exitFailure(exit);
  return failure === null ? moved('succeeded') : failOrRetry(run, failure, true);
}

/** What an exit means when nobody cancelled: null for success. */
export function exitFailure(exit: ExitFact): RunFailure | null {
  if (exit.stoppedBy === 'timeout') return { code: 'timeout', message: 'the run took longer than its timeout', blame: 'user' };
  if (exit.stoppedBy === 'lease')
    return { code: 'nodeLost', message: 'the node lost contact and stopped the container', blame: 'platform' };
  if (exit.stoppedBy === 'request') return { code: 'internal', message: 'the platform stopped the container', blame: 'platform' };
  if (exit.exitCode === 0) return null;
  if (exit.oomKilled) return { code: 'outOfMemory', message: 'the container used more memory than its limit', blame: 'user' };
  if (exit.signal !== null) return { code: 'signaled', message: `the container was ended by signal ${exit.signal}`, blame: 'user' };
  if (exit.exitCode !== null) return { code: 'nonZeroExit', message: `the container exited with ${exit.exitCode}`, blame: 'user' };
  return { code: 'internal', message: 'the exit status was lost', blame: 'platform' };
}

function failOrRetry(run: RunStanding, failure: RunFailure, retryable: boolean): Transition {
  const again = retryable && !run.cancelRequested && run.attempt < run.maxAttempts;
  return { kind: 'moved', state: again ? 'queued' : 'failed', failure };
}

function canceled({ preemptedFor }: RunStanding): Transition {
  const failure = preemptedFor === null ? null : ({ code: 'preempted', message: madeWayFor(preemptedFor), blame: 'user' } as const);
  return { kind: 'moved', state: 'canceled', failure };
}

/** Why a run stops or waits again for the sake of another one of its tenant, in words. */
export function madeWayFor(runId: string): string {
  return `made way for ${runId}, which has a higher priority`;
}

function moved(state: RunState): Transition {
  return { kind: 'moved', state, failure: null };
}

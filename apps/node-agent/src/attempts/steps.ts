import type { RunFailure } from '@berth/core';
import type { ExitRecord } from '@berth/wire';

/** One thing the agent does for an attempt, as data. */
export type Step =
  /** Writes down the assignment and claims a range of ids, so that a restarted agent knows what it holds. */
  | { readonly kind: 'recordAssignment' }
  | { readonly kind: 'reportPreparing' }
  /** After a restart: the pull's credential is never written down, so the control plane must send the assignment again. */
  | { readonly kind: 'awaitAssignment' }
  | { readonly kind: 'pullImage' }
  | { readonly kind: 'prepareSnapshot' }
  | { readonly kind: 'writeBundle' }
  | { readonly kind: 'startContainer' }
  | { readonly kind: 'reportRunning' }
  | { readonly kind: 'stopContainer'; readonly graceMs: number; readonly report: boolean }
  | { readonly kind: 'awaitExit' }
  /** Spools the report that ends the attempt. */
  | { readonly kind: 'reportOutcome'; readonly outcome: Outcome }
  /** Waits for the shim's own deletion and makes sure of it: no process and no cgroup is left. */
  | { readonly kind: 'deleteContainer' }
  | { readonly kind: 'removeSnapshot' }
  | { readonly kind: 'awaitLogs' }
  | { readonly kind: 'awaitAcknowledgement' }
  /** Gives back the ids and deletes the attempt's directory. */
  | { readonly kind: 'removeDirectory' };

export type StepKind = Step['kind'];
export type StepOf<K extends StepKind> = Extract<Step, { kind: K }>;

/** How an attempt ended, as its last report says it. */
export type Outcome =
  | { readonly kind: 'exited'; readonly exit: ExitRecord }
  | { readonly kind: 'failed'; readonly failure: RunFailure; readonly retryable: boolean }
  | { readonly kind: 'stopped' };

/** What is true of an attempt on this node. */
export interface AttemptFacts {
  readonly recorded: boolean;
  readonly announced: boolean;
  /** The assignment is at hand with its credential. */
  readonly assigned: boolean;
  readonly imagePulled: boolean;
  readonly snapshot: 'none' | 'mounted' | 'removed';
  readonly bundleWritten: boolean;
  readonly container: 'none' | 'running' | 'exited' | 'deleted';
  readonly runningReported: boolean;
  /** The shortest grace with which a stop was asked for; null: none was. */
  readonly stopGraceMs: number | null;
  /** The kernel's word; null while there is none. */
  readonly exit: ExitRecord | null;
  /** How the attempt ends without the kernel's word: it failed, or was given up before it started. Null while it can go on. */
  readonly verdict: Extract<Outcome, { kind: 'failed' | 'stopped' }> | null;
  readonly outcome: 'none' | 'spooled' | 'acknowledged';
  readonly logsShipped: boolean;
  readonly removed: boolean;
}

/** What is wanted of an attempt. */
export type Target =
  | { readonly kind: 'run' }
  /** Stop it and report how it ended. */
  | { readonly kind: 'stop'; readonly graceMs: number }
  /** It is another's now: kill it; nobody waits for its report or its logs. */
  | { readonly kind: 'forget' };

export const untouched: AttemptFacts = {
  recorded: false,
  announced: false,
  assigned: true,
  imagePulled: false,
  snapshot: 'none',
  bundleWritten: false,
  container: 'none',
  runningReported: false,
  stopGraceMs: null,
  exit: null,
  verdict: null,
  outcome: 'none',
  logsShipped: false,
  removed: false,
};

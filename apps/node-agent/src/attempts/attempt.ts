import { setTimeout as sleep } from 'node:timers/promises';
import type { PulledImage } from '@berth/image';
import type { ParkedShim } from '@berth/runtime';
import type { Lease } from '@berth/wire';
import type { Logger } from 'pino';
import type { AttemptDirectory } from './attempt-directory.js';
import { AttemptFailure } from './attempt-failure.js';
import { type AttemptKey, attemptKey, type RecordedAssignment } from './attempt-key.js';
import { planSteps } from './plan-steps.js';
import { type AttemptFacts, type Step, type StepKind, type StepOf, type Target, untouched } from './steps.js';

/** Does one kind of step and answers what has become true. A kind without an executor does not compile. */
export type StepExecutors = {
  readonly [K in StepKind]: (step: StepOf<K>, attempt: Attempt, signal: AbortSignal) => Promise<Partial<AttemptFacts>>;
};

/** Steps whose failure is the attempt's; any other step is tried again until it succeeds. */
const fatal: ReadonlySet<StepKind> = new Set<StepKind>([
  'recordAssignment',
  'awaitAssignment',
  'pullImage',
  'prepareSnapshot',
  'writeBundle',
  'startContainer',
]);

/** Steps that give way when something else is wanted of the attempt. */
const interruptible: ReadonlySet<StepKind> = new Set<StepKind>([
  'awaitAssignment',
  'pullImage',
  'startContainer',
  'awaitExit',
  'awaitLogs',
  'awaitAcknowledgement',
]);

/** Local and soon done: a pause does not come between a container's end and these. */
const finishing: ReadonlySet<StepKind> = new Set<StepKind>(['reportOutcome', 'deleteContainer', 'removeSnapshot', 'removeDirectory']);

const firstRetryMs = 200;
const lastRetryMs = 30_000;

/** One attempt on this node: carries it to its end by planning anew after each step. */
export class Attempt {
  readonly key: AttemptKey;
  readonly lease: Lease;
  readonly log: Logger;
  /** Earlier attempts of the same run that are not gone from this node yet. */
  predecessors: readonly Attempt[] = [];
  /** Undefined after a restart, until the assignment has come again. */
  pullAuthorization: string | null | undefined;
  /** The slot of ids that it holds, from `recordAssignment`. */
  slot: number | undefined;
  /** The sandbox of the pool that waits for it, from `recordAssignment` to the start. */
  parked: ParkedShim | undefined;
  /** Where that sandbox has its root filesystem; undefined: it has none. */
  parkedRootfs: string | undefined;
  /** From `pullImage`. */
  image: PulledImage | undefined;
  /** The mounted root filesystem, from `prepareSnapshot`. */
  rootfs: string | undefined;
  /** From `writeBundle`. */
  stopSignal: number | undefined;
  /** RFC 3339, from `startContainer`. */
  startedAt: string | undefined;
  #facts: AttemptFacts;
  #target: Target = { kind: 'run' };
  #interrupt = new AbortController();

  constructor(
    readonly assignment: RecordedAssignment,
    readonly directory: AttemptDirectory,
    private readonly executors: StepExecutors,
    log: Logger,
    facts: Partial<AttemptFacts> = {},
  ) {
    this.key = attemptKey(assignment);
    this.lease = { runId: assignment.runId, attempt: assignment.attempt, epoch: assignment.epoch };
    this.log = log.child({ runId: assignment.runId, epoch: assignment.epoch });
    this.#facts = { ...untouched, ...facts };
  }

  get facts(): AttemptFacts {
    return this.#facts;
  }

  /** The assignment came again, with its credential. */
  reassign(pullAuthorization: string | null): void {
    this.pullAuthorization = pullAuthorization;
    if (this.#facts.assigned) return;
    this.#facts = { ...this.#facts, assigned: true };
    this.#interrupt.abort();
  }

  /** Wants the attempt stopped, or stopped sooner. `forget` is final. One that has ended already is past stopping: its report and its logs still count. */
  stop(target: Exclude<Target, { kind: 'run' }>): void {
    if (this.#target.kind === 'forget' || this.#facts.outcome !== 'none') return;
    if (this.#target.kind === 'stop' && target.kind === 'stop' && target.graceMs >= this.#target.graceMs) return;
    this.#target = target;
    this.#interrupt.abort();
  }

  /** Does step after step until the attempt is removed, or `paused` says that the agent leaves it where it is. Never rejects. */
  async run(paused: AbortSignal): Promise<void> {
    for (let retryMs = firstRetryMs; ; ) {
      this.#interrupt = new AbortController();
      const [step] = planSteps(this.#facts, this.#target);
      if (step === undefined || (paused.aborted && !finishing.has(step.kind))) return;
      const signal = AbortSignal.any([this.#interrupt.signal, paused]);
      try {
        const change = await this.execute(step, signal);
        // Read after the step: facts may have been added while it was done.
        this.#facts = { ...this.#facts, ...change };
        retryMs = firstRetryMs;
      } catch (error) {
        if (signal.aborted && interruptible.has(step.kind)) continue;
        if (fatal.has(step.kind)) {
          this.fail(step, error);
          continue;
        }
        this.log.error({ err: error, step: step.kind, retryMs }, 'a step failed and will be tried again');
        if (paused.aborted) return;
        await sleep(retryMs, undefined, { signal: paused }).catch(() => {});
        retryMs = Math.min(retryMs * 2, lastRetryMs);
      }
    }
  }

  private execute(step: Step, signal: AbortSignal): Promise<Partial<AttemptFacts>> {
    // The lookup pairs each kind with its own executor; the compiler cannot follow that through a union.
    const execute = this.executors[step.kind] as (step: Step, attempt: Attempt, signal: AbortSignal) => Promise<Partial<AttemptFacts>>;
    return execute(step, this, signal);
  }

  private fail(step: Step, error: unknown): void {
    const failure = AttemptFailure.from(error);
    const { code, message, blame } = failure.failure;
    this.log.warn({ step: step.kind, code, blame, message, cause: String(failure.cause ?? '') }, 'the attempt failed');
    this.#facts = { ...this.#facts, verdict: { kind: 'failed', failure: failure.failure, retryable: failure.retryable } };
  }
}

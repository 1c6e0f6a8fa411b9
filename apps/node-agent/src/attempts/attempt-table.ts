import type { Assignment, Lease } from '@berth/wire';
import type { Logger } from 'pino';
import { Attempt, type StepExecutors } from './attempt.js';
import { AttemptDirectory } from './attempt-directory.js';
import { type AttemptKey, attemptKey } from './attempt-key.js';
import type { NodeServices } from './node-services.js';
import { reportId } from './report-id.js';

/** Attempts that ended here and are remembered, so that an assignment which comes late does not start them again. */
const rememberedEnds = 10_000;

/** The attempts of this node. Assignments and stops may come twice, late and in any order. */
export class AttemptTable {
  readonly #attempts = new Map<AttemptKey, { readonly attempt: Attempt; readonly done: Promise<void> }>();
  readonly #ended = new Set<AttemptKey>();
  readonly #paused = new AbortController();
  /** This agent takes up nothing more; what is assigned meanwhile is assigned again to the next one. */
  #closing = false;

  constructor(
    private readonly node: NodeServices,
    private readonly executors: StepExecutors,
    private readonly log: Logger,
  ) {
    node.spool.onAcknowledge((report, outcome) => {
      // The control plane has given the run to another attempt: this one must not run on.
      if (outcome === 'stale') this.#attempts.get(attemptKey(report))?.attempt.stop({ kind: 'forget' });
    });
  }

  get attempts(): readonly Attempt[] {
    return [...this.#attempts.values()].map(({ attempt }) => attempt);
  }

  /** Every attempt whose end the control plane has not acknowledged. */
  holds(): readonly Lease[] {
    return this.attempts
      .filter(({ facts, lease }) => facts.outcome === 'none' || this.node.spool.has(reportId(lease, 'exited')))
      .map(({ lease }) => lease);
  }

  assign({ pullAuthorization, ...assignment }: Assignment): void {
    const key = attemptKey(assignment);
    const known = this.#attempts.get(key);
    if (known !== undefined) known.attempt.reassign(pullAuthorization);
    if (known !== undefined || this.#ended.has(key) || this.#closing) return;
    const others = this.attempts.filter(({ lease }) => lease.runId === assignment.runId);
    if (others.some(({ lease }) => lease.epoch > assignment.epoch)) return;
    for (const older of others) older.stop({ kind: 'forget' });
    const directory = new AttemptDirectory(this.node.paths.containers, key);
    const attempt = new Attempt(assignment, directory, this.executors, this.log);
    attempt.pullAuthorization = pullAuthorization;
    attempt.predecessors = others;
    this.carry(attempt);
  }

  stop(lease: Lease, reason: 'canceled' | 'superseded', graceMs: number): void {
    const known = this.#attempts.get(attemptKey(lease));
    known?.attempt.stop(reason === 'canceled' ? { kind: 'stop', graceMs } : { kind: 'forget' });
    if (known !== undefined || reason === 'superseded' || this.#ended.has(attemptKey(lease))) return;
    // Nothing of it is here and nothing will be: the control plane may know it as ended.
    this.remember(attemptKey(lease));
    void this.node.spool.append({ ...lease, id: reportId(lease, 'stopped'), kind: 'stopped' });
  }

  /** Takes up an attempt: a fresh one, or one that was found on disk. */
  carry(attempt: Attempt): void {
    const done = attempt.run(this.#paused.signal).then(() => {
      this.#attempts.delete(attempt.key);
      if (attempt.facts.removed) this.remember(attempt.key);
    });
    this.#attempts.set(attempt.key, { attempt, done });
  }

  /** Stops every container; resolves when all are gone from this machine and reported as far as the control plane listens, or after `limitMs`. */
  async stopAll(graceMs: number, limitMs: number): Promise<void> {
    this.#closing = true;
    for (const { attempt } of this.#attempts.values()) attempt.stop({ kind: 'stop', graceMs });
    const all = Promise.all([...this.#attempts.values()].map(({ done }) => done));
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      all,
      new Promise((resolve) => {
        timer = setTimeout(resolve, limitMs);
      }),
    ]);
    clearTimeout(timer);
  }

  /** Leaves every attempt where it is, once the step under way is done; containers run on. */
  async pause(): Promise<void> {
    this.#closing = true;
    this.#paused.abort();
    await Promise.all([...this.#attempts.values()].map(({ done }) => done));
  }

  private remember(key: AttemptKey): void {
    this.#ended.add(key);
    const [oldest] = this.#ended;
    if (this.#ended.size > rememberedEnds && oldest !== undefined) this.#ended.delete(oldest);
  }
}

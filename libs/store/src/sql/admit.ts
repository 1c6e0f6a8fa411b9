import { randomBytes } from 'node:crypto';
import { AppError, idRandomBytes, newId, planAdmissions, type QuotaAmount, quotaDimensions, rateMinute, runAmount } from '@berth/core';
import type pg from 'pg';
import { inTransaction, isStatementError, retryOnDeadlock } from '../pool.js';
import type { AdmitInput, AdmitOutcome, IdempotencyClaim, LeaseRow, RunRow } from '../ports.js';
import { readStandings, refusedBy, type Standing } from './admission-standing.js';
import { admitWaiting, lockTenants } from './admit-waiting.js';
import { type AcceptedRun, type AdmissionGroup, waitingReason, writeAdmissions } from './admit-write.js';
import { preempt } from './preempt.js';

/*
 * Admission: two statements for whatever came together. The first only looks, so that replays and refusals write nothing; libs/core decides on it;
 * the second writes each tenant's runs if what was decided still holds. It is one statement so that the tenant's row, which all of a tenant's
 * submissions meet on, is never locked across a network round trip. Submissions that come while others are under way share the next statements.
 *
 * Order is strict among those who wait for quota, so a reservation is only taken past an empty line (`waiting_runs = 0`); else a
 * stream of small runs would starve a large one for ever.
 */

type FindRun = (tenantId: string, runId: string) => Promise<RunRow | null>;

interface Pending {
  readonly input: AdmitInput;
  readonly runId: string;
  readonly settle: (outcome: AdmitOutcome | Promise<AdmitOutcome>) => void;
  /** How often what was decided no longer held. */
  rounds: number;
}

const batchMax = 200;
/** More than one, so that a slow batch holds nobody up; few, so that a burst is written by few statements. */
const batchesAtOnce = 3;
// Each round loses to another submission that won a race; nobody loses so often in a row.
const maxRounds = 20;

/** Takes submissions in. `findRun` reads a run of a tenant as it stands. */
export class Admissions {
  private waiting: Pending[] = [];
  private batches = 0;
  /** Submissions under way by tenant and key: the second of a pair waits for the first. */
  private readonly keys = new Map<string, Promise<unknown>>();

  constructor(
    private readonly pool: pg.Pool,
    private readonly findRun: FindRun,
  ) {}

  /** See `RunStore.admit`. */
  async admit(input: AdmitInput): Promise<AdmitOutcome> {
    if (input.idempotency === null) return this.enqueue(input);
    const key = `${input.tenantId} ${input.idempotency.key}`;
    for (let under = this.keys.get(key); under !== undefined; under = this.keys.get(key)) await under.catch(() => {});
    const outcome = this.enqueue(input).finally(() => this.keys.delete(key));
    this.keys.set(key, outcome);
    return outcome;
  }

  /** See `RunStore.findReplay`. */
  async findReplay(tenantId: string, claim: IdempotencyClaim): Promise<Extract<AdmitOutcome, { kind: 'replayed' | 'refused' }> | null> {
    const standings = await readStandings(this.pool, [{ tenantId, idempotency: claim }], new Date());
    return this.answerKnown(claim, standingOf(standings, tenantId));
  }

  private enqueue(input: AdmitInput): Promise<AdmitOutcome> {
    return new Promise((resolve) => {
      const runId = newId('run', input.now.getTime(), randomBytes(idRandomBytes));
      this.waiting.push({ input, runId, settle: resolve, rounds: 0 });
      // Those of the same turn of the loop go together.
      if (this.waiting.length === 1) setImmediate(() => this.next());
    });
  }

  private next(): void {
    while (this.waiting.length > 0 && this.batches < batchesAtOnce) {
      this.batches++;
      void this.decide(this.waiting.splice(0, batchMax)).finally(() => {
        this.batches--;
        this.next();
      });
    }
  }

  /** Never rejects: every submission of the batch gets its outcome, or its own error. */
  private async decide(batch: readonly Pending[]): Promise<void> {
    try {
      await this.attempt(batch);
    } catch (error) {
      // A statement that Postgres refused wrote nothing; by itself, each finds out whether it was the reason.
      const isShared = batch.length > 1 && isStatementError(error);
      for (const one of batch) {
        if (isShared || isTakenKey(error)) this.again([one]);
        else one.settle(Promise.reject(error));
      }
    }
  }

  private async attempt(batch: readonly Pending[]): Promise<void> {
    const now = batch[0]?.input.now ?? new Date();
    // Of another minute, or another month: by themselves.
    const [same, other] = partition(batch, ({ input }) => rateMinute(input.now) === rateMinute(now));
    for (const one of other) this.again([one], 0);
    const inputs = same.map(({ input }) => input);
    const standings = await readStandings(this.pool, inputs, now);
    const groups = [...groupByTenant(same)].flatMap(([tenantId, members]) => this.decideTenant(members, standings.get(tenantId)));
    if (groups.length === 0) return;
    const left = await retryOnDeadlock(() => writeAdmissions(this.pool, groups, now));
    for (const group of groups) {
      const rest = left.get(group.standing.tenantId);
      const members = same.filter((one) => group.accepted.some(({ runId }) => runId === one.runId));
      if (rest === undefined) this.again(members);
      else for (const [i, one] of members.entries()) one.settle(this.created(group, i, one, rest));
    }
  }

  /** Decides a tenant's submissions; answers those that write nothing, and returns the group of the others. */
  private decideTenant(members: readonly Pending[], standing: Standing | undefined): AdmissionGroup[] {
    if (standing === undefined) {
      for (const one of members) one.settle(Promise.reject(new AppError('notFound', 'there is no such tenant')));
      return [];
    }
    const [known, fresh] = partition(members, ({ input }) => input.idempotency !== null && standing.known.has(input.idempotency.key));
    // A run deleted this instant took its key along: the next round submits anew.
    for (const one of known) {
      one.settle(this.answerKnown(one.input.idempotency, standing).then((outcome) => outcome ?? this.enqueue(one.input)));
    }
    const asked = fresh.map(({ input }) => ({
      amount: runAmount({ ...input.request, maxAttempts: input.maxAttempts }),
      onQuota: input.onQuota,
    }));
    const accepted: AcceptedRun[] = [];
    for (const [i, decision] of planAdmissions(standing.quota, standing.used, asked).entries()) {
      const [one, submission] = [fresh[i], asked[i]];
      if (one === undefined || submission === undefined) continue;
      const { amount } = submission;
      if (decision.kind !== 'refuse') accepted.push({ runId: one.runId, input: one.input, amount, decision });
      else one.settle(refusedBy(this.pool, standing, amount, decision));
    }
    return accepted.length === 0 ? [] : [{ standing, accepted }];
  }

  /** Once more, apart from the others: what they wait for must not hold these up, nor these them. */
  private again(members: readonly Pending[], rounds = 1): void {
    for (const one of members) one.rounds += rounds;
    if (members.every((one) => one.rounds < maxRounds)) void this.decide(members);
    else for (const one of members) one.settle(Promise.reject(new AppError('unavailable', 'too many submissions at once; try again')));
  }

  private async created(group: AdmissionGroup, index: number, { input, runId }: Pending, left: QuotaAmount): Promise<AdmitOutcome> {
    const { standing } = group;
    const run = group.accepted[index];
    if (run === undefined) throw new Error(`run ${runId} was not decided`);
    const submissions = { limit: standing.quota.submissionsPerMinute, used: standing.used.submissionsPerMinute + index + 1 };
    const row = newRunRow(input, standing.tenantName, runId, waitingReason(run));
    if (run.decision.kind === 'reserve') return { kind: 'created', run: row, admitted: [runId], stops: [], changed: [], submissions };
    // A place was free behind the line, or can be made, or this run belongs at its head: whoever is first now gets it.
    const fits = quotaDimensions.every((dimension) => run.amount[dimension] <= left[dimension]);
    const { admitted, stops, changed } = await admitLine(this.pool, input, runId, fits);
    const now = admitted.length + changed.length > 0 ? await this.findRun(input.tenantId, runId) : row;
    if (now === null) throw new Error(`run ${runId} vanished`);
    return { kind: 'created', run: now, admitted, stops, changed, submissions };
  }

  private async answerKnown(
    claim: IdempotencyClaim | null,
    standing: Standing,
  ): Promise<Extract<AdmitOutcome, { kind: 'replayed' | 'refused' }> | null> {
    const known = claim === null ? undefined : standing.known.get(claim.key);
    if (known === undefined) return null;
    if (known.bodyHash !== claim?.bodyHash) return { kind: 'refused', code: 'idempotencyMismatch' };
    const run = await this.findRun(standing.tenantId, known.runId);
    return run === null ? null : { kind: 'replayed', run };
  }
}

function standingOf(standings: ReadonlyMap<string, Standing>, tenantId: string): Standing {
  const standing = standings.get(tenantId);
  if (standing === undefined) throw new AppError('notFound', 'there is no such tenant');
  return standing;
}

const uniqueViolation = '23505';

/** Another replica was first with a key of the batch. */
function isTakenKey(error: unknown): boolean {
  const { code, constraint } = error as { code?: string; constraint?: string };
  return code === uniqueViolation && constraint === 'idempotency_keys_pkey';
}

function partition<T>(all: readonly T[], isFirst: (one: T) => boolean): [T[], T[]] {
  const first: T[] = [];
  const second: T[] = [];
  for (const one of all) (isFirst(one) ? first : second).push(one);
  return [first, second];
}

function groupByTenant(batch: readonly Pending[]): Map<string, Pending[]> {
  const groups = new Map<string, Pending[]>();
  for (const one of batch) {
    const group = groups.get(one.input.tenantId);
    if (group === undefined) groups.set(one.input.tenantId, [one]);
    else group.push(one);
  }
  return groups;
}

interface LineOutcome {
  admitted: string[];
  stops: { nodeId: string; lease: LeaseRow }[];
  changed: string[];
}

/** `fits`: the run waits, although its amount would fit beside what is used. */
async function admitLine(pool: pg.Pool, input: AdmitInput, runId: string, fits: boolean): Promise<LineOutcome> {
  if (input.onQuota === 'preempt') return preempt(pool, input.tenantId, runId, input.now);
  if (!fits) return { admitted: [], stops: [], changed: [] };
  const admitted = await retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      await lockTenants(client, [input.tenantId]);
      return admitWaiting(client, [input.tenantId], input.now);
    }),
  );
  return { admitted, stops: [], changed: [] };
}

function newRunRow(input: AdmitInput, tenantName: string, runId: string, reason: string | null): RunRow {
  return {
    id: runId,
    tenantId: input.tenantId,
    tenantName,
    state: 'queued',
    waitingFor: reason === null ? null : 'quota',
    waitingReason: reason,
    image: input.image,
    digest: input.digest,
    spec: input.spec,
    epoch: 0,
    exitCode: null,
    signal: null,
    failure: null,
    cancelRequested: false,
    attempts: [],
    createdAt: input.now,
    startedAt: null,
    finishedAt: null,
  };
}

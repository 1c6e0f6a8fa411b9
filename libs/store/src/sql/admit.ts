import { randomBytes } from 'node:crypto';
import { AppError, budgetMonth, idRandomBytes, newId, rateMinute, runAmount } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { AdmitInput, AdmitOutcome, IdempotencyClaim, LeaseRow, RunRow } from '../ports.js';
import { refuse, type Standing } from './admission-refusal.js';
import { admitWaiting, lockTenants } from './admit-waiting.js';
import { preempt } from './preempt.js';
import { each, runColumns, submissionsNow, usedNow } from './quota-columns.js';

/*
 * Admission: two statements for a run that is accepted. The first only looks, so that replays and refusals write nothing. The second does everything
 * or nothing: the idempotency row, the guarded reservation, the run, its events and its outbox row. It is one statement so that the tenant's row,
 * which all of a tenant's submissions meet on, is never locked across a network round trip.
 *
 * Order is strict among those who wait for quota, so a reservation is only taken past an empty line (`waiting_runs = 0`); else a
 * stream of small runs would starve a large one for ever.
 */

const standingStatement = `
  SELECT tenants.name AS tenant_name, waiting_runs, quota_queued_runs, quota_submissions_per_minute, ${submissionsNow('$4')} AS submissions,
         ${each(', ', (c) => `quota_${c.name}, ${usedNow(c, '$3')} AS used_${c.name}`)},
         k.run_id AS known_run_id, k.body_hash AS known_body_hash
  FROM tenants LEFT JOIN idempotency_keys k ON k.tenant_id = tenants.id AND k.key = $2
  WHERE tenants.id = $1`;

const firstAmount = 17;
/** The parameter that has what the run takes of a dimension. */
const requested = ({ dimension }: { dimension: string }): string => {
  const index = runColumns.findIndex((columns) => columns.dimension === dimension);
  return index < 0 ? '1' : `$${firstAmount + index}::bigint`;
};

const countSubmission = `rate_minute = greatest(rate_minute, $15::int), rate_submissions = ${submissionsNow('$15::int')} + 1`;
const maySubmit = `${submissionsNow('$15::int')} < quota_submissions_per_minute`;

const admitStatement = `
  WITH keyed AS (
    INSERT INTO idempotency_keys (tenant_id, key, body_hash, run_id)
    SELECT $1, $2, $3, $4 WHERE $2::text IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
  ), reserved AS (
    UPDATE tenants SET
      ${each(', ', (c) => `used_${c.name} = ${usedNow(c, '$14::int')} + ${requested(c)}`)},
      budget_month = greatest(budget_month, $14::int), ${countSubmission}
    WHERE id = $1 AND waiting_runs = 0 AND ${maySubmit}
      AND ${each(' AND ', (c) => `${usedNow(c, '$14::int')} + ${requested(c)} <= quota_${c.name}`)}
      AND ($2::text IS NULL OR EXISTS (SELECT FROM keyed))
    RETURNING budget_month
  ), waiting AS (
    UPDATE tenants SET waiting_runs = waiting_runs + 1, ${countSubmission}
    WHERE id = $1 AND $5::boolean AND waiting_runs < quota_queued_runs AND ${maySubmit} AND NOT EXISTS (SELECT FROM reserved)
      AND ($2::text IS NULL OR EXISTS (SELECT FROM keyed))
    RETURNING CASE
      ${each(
        '\n',
        (c) => `WHEN ${usedNow(c, '$14::int')} + ${requested(c)} > quota_${c.name}
        THEN format('${c.dimension}: %s requested, %s of %s used', ${requested(c)}, ${usedNow(c, '$14::int')}, quota_${c.name})`,
      )}
    END AS shortage
  ), outcome AS (
    SELECT true AS reserved, NULL::text AS shortage, budget_month FROM reserved
    UNION ALL SELECT false, shortage, 0 FROM waiting
  ), run AS (
    INSERT INTO runs (id, tenant_id, state, reserved, waiting_for, waiting_reason, image, digest, spec, labels,
                      priority, max_attempts, on_node_lost, created_at, queued_at, needs, budget_month, ${each(', ', (c) => c.run, runColumns)})
    SELECT $4, $1, 'queued', reserved, CASE WHEN NOT reserved THEN 'quota' END,
           CASE WHEN NOT reserved THEN coalesce(shortage, 'earlier runs of this tenant wait for quota') END,
           $6, $7, $8, $9, $10, $11, $12, $13, $13, $16, budget_month, ${each(', ', requested, runColumns)}
    FROM outcome
    RETURNING id, reserved, waiting_for, waiting_reason
  ), event AS (
    INSERT INTO run_events (run_id, tenant_id, type, state, message, at)
    SELECT run.id, $1, e.type, 'queued', e.message, $13
    FROM run CROSS JOIN LATERAL (VALUES
      (1, 'created', NULL),
      (2, CASE WHEN run.reserved THEN 'admitted' ELSE 'waiting' END, run.waiting_reason)
    ) AS e (place, type, message)
    ORDER BY e.place
  ), box AS (
    INSERT INTO outbox (run_id, attempt) SELECT id, 1 FROM run WHERE reserved
  )
  SELECT run.reserved, run.waiting_for, run.waiting_reason, outcome.shortage IS NULL AS fits FROM run, outcome`;

const foreignKeyViolation = '23503';
// Each round loses to another submission that won a race; nobody loses so often in a row.
const maxRounds = 20;

type FindRun = (runId: string) => Promise<RunRow | null>;

/** See `RunStore.admit`. `findRun` reads a run of the tenant as it stands. */
export async function admit(pool: pg.Pool, input: AdmitInput, findRun: FindRun): Promise<AdmitOutcome> {
  const runId = newId('run', input.now.getTime(), randomBytes(idRandomBytes));
  for (let round = 0; round < maxRounds; round++) {
    const standing = await readStanding(pool, input);
    const known = await answerKnown(input.idempotency, standing, findRun);
    if (known !== null) return known;
    const refusal = await refuse(pool, input, standing);
    if (refusal !== null) return refusal;

    const row = await writeRun(pool, input, runId);
    if (row === null) continue;
    if (row.reserved)
      return { kind: 'created', run: newRunRow(input, standing.tenant_name, runId, row), admitted: [runId], stops: [], changed: [] };
    // A place was free behind the line, or can be made, or this run belongs at its head: whoever is first now gets it.
    const { admitted, stops, changed } = await admitLine(pool, input, runId, row);
    const run = admitted.length + changed.length > 0 ? await findRun(runId) : newRunRow(input, standing.tenant_name, runId, row);
    if (run === null) throw new Error(`run ${runId} vanished`);
    return { kind: 'created', run, admitted, stops, changed };
  }
  throw new AppError('unavailable', 'too many submissions at once; try again');
}

/** See `RunStore.findReplay`. */
export async function findReplay(
  pool: pg.Pool,
  tenantId: string,
  claim: IdempotencyClaim,
  findRun: FindRun,
): Promise<Extract<AdmitOutcome, { kind: 'replayed' | 'refused' }> | null> {
  const standing = await readStanding(pool, { tenantId, idempotency: claim, now: new Date() });
  return answerKnown(claim, standing, findRun);
}

async function readStanding(pool: pg.Pool, input: Pick<AdmitInput, 'tenantId' | 'idempotency' | 'now'>): Promise<Standing> {
  const result = await pool.query<Standing>({
    name: 'admit-standing',
    text: standingStatement,
    values: [input.tenantId, input.idempotency?.key ?? null, budgetMonth(input.now), rateMinute(input.now)],
  });
  const standing = result.rows[0];
  if (standing === undefined) throw new AppError('notFound', 'there is no such tenant');
  return standing;
}

async function answerKnown(
  claim: IdempotencyClaim | null,
  standing: Standing,
  findRun: FindRun,
): Promise<Extract<AdmitOutcome, { kind: 'replayed' | 'refused' }> | null> {
  if (standing.known_run_id === null || claim === null) return null;
  if (standing.known_body_hash !== claim.bodyHash) return { kind: 'refused', code: 'idempotencyMismatch' };
  const run = await findRun(standing.known_run_id);
  // A run deleted this instant took its key along: the next round submits anew.
  return run === null ? null : { kind: 'replayed', run };
}

interface WrittenRun {
  reserved: boolean;
  waiting_for: 'quota' | null;
  waiting_reason: string | null;
  /** Waits, although its amount would fit beside what is used. */
  fits: boolean;
}

/** null: another submission was first, with the key or with the last of the quota. */
async function writeRun(pool: pg.Pool, input: AdmitInput, runId: string): Promise<WrittenRun | null> {
  const amount = runAmount({ ...input.request, maxAttempts: input.maxAttempts });
  try {
    const result = await pool.query<WrittenRun>({
      name: 'admit-run',
      text: admitStatement,
      values: [
        input.tenantId,
        input.idempotency?.key ?? null,
        input.idempotency?.bodyHash ?? null,
        runId,
        input.onQuota !== 'reject',
        input.image,
        input.digest,
        JSON.stringify(input.spec),
        JSON.stringify(input.labels),
        input.priority,
        input.maxAttempts,
        onNodeLost(input),
        input.now,
        budgetMonth(input.now),
        rateMinute(input.now),
        input.needs ?? [],
        ...runColumns.map(({ dimension }) => amount[dimension]),
      ],
    });
    return result.rows[0] ?? null;
  } catch (error) {
    // The key was written and the run was not: undone as a whole, because the key's foreign key names the run.
    const { code, constraint } = error as { code?: string; constraint?: string };
    if (code === foreignKeyViolation && constraint === 'idempotency_keys_run_id_fkey') return null;
    throw error;
  }
}

interface LineOutcome {
  admitted: string[];
  stops: { nodeId: string; lease: LeaseRow }[];
  changed: string[];
}

async function admitLine(pool: pg.Pool, input: AdmitInput, runId: string, row: WrittenRun): Promise<LineOutcome> {
  if (input.onQuota === 'preempt') return preempt(pool, input.tenantId, runId, input.now);
  if (!row.fits) return { admitted: [], stops: [], changed: [] };
  const admitted = await retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      await lockTenants(client, [input.tenantId]);
      return admitWaiting(client, [input.tenantId], input.now);
    }),
  );
  return { admitted, stops: [], changed: [] };
}

function onNodeLost(input: AdmitInput): 'wait' | 'retry' {
  const chosen = (input.spec as { onNodeLost?: unknown } | null)?.onNodeLost;
  if (chosen === 'wait' || chosen === 'retry') return chosen;
  return input.maxAttempts > 1 ? 'retry' : 'wait';
}

function newRunRow(input: AdmitInput, tenantName: string, runId: string, row: WrittenRun): RunRow {
  return {
    id: runId,
    tenantId: input.tenantId,
    tenantName,
    state: 'queued',
    waitingFor: row.waiting_for,
    waitingReason: row.waiting_reason,
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

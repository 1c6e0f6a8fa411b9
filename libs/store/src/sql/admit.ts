import { randomBytes } from 'node:crypto';
import { AppError, checkQuota, idRandomBytes, newId, type QuotaAmount, type QuotaDecision, runAmount } from '@berth/core';
import type pg from 'pg';
import { inTransaction, retryOnDeadlock } from '../pool.js';
import type { AdmitInput, AdmitOutcome, RunRow } from '../ports.js';
import { admitWaiting, lockTenants } from './admit-waiting.js';

/*
 * Admission: two statements for a run that is accepted. The first only looks, so that replays and refusals write nothing. The second does everything
 * or nothing: the idempotency row, the guarded reservation, the run, its events and its outbox row. It is one statement so that the tenant's row,
 * which all of a tenant's submissions meet on, is never locked across a network round trip.
 *
 * Order is strict among those who wait for quota, so a reservation is only taken past an empty line (`waiting_runs = 0`); else a
 * stream of small runs would starve a large one for ever.
 */

interface Standing {
  tenant_name: string;
  waiting_runs: number;
  known_run_id: string | null;
  known_body_hash: string | null;
  quota_runs: number;
  quota_cpu: number;
  quota_memory: number;
  used_runs: number;
  used_cpu: number;
  used_memory: number;
}

const standingStatement = `
  SELECT t.name AS tenant_name, t.waiting_runs, k.run_id AS known_run_id, k.body_hash AS known_body_hash,
         t.quota_concurrent_runs AS quota_runs, t.quota_cpu_millis AS quota_cpu, t.quota_memory_bytes AS quota_memory,
         t.used_concurrent_runs AS used_runs, t.used_cpu_millis AS used_cpu, t.used_memory_bytes AS used_memory
  FROM tenants t LEFT JOIN idempotency_keys k ON k.tenant_id = t.id AND k.key = $2
  WHERE t.id = $1`;

const admitStatement = `
  WITH keyed AS (
    INSERT INTO idempotency_keys (tenant_id, key, body_hash, run_id)
    SELECT $1, $2, $3, $4 WHERE $2::text IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
  ), reserved AS (
    UPDATE tenants SET
      used_concurrent_runs = used_concurrent_runs + 1,
      used_cpu_millis = used_cpu_millis + $5::int,
      used_memory_bytes = used_memory_bytes + $6::bigint
    WHERE id = $1 AND waiting_runs = 0
      AND used_concurrent_runs + 1 <= quota_concurrent_runs
      AND used_cpu_millis + $5::int <= quota_cpu_millis
      AND used_memory_bytes + $6::bigint <= quota_memory_bytes
      AND ($2::text IS NULL OR EXISTS (SELECT FROM keyed))
    RETURNING 1
  ), waiting AS (
    UPDATE tenants SET waiting_runs = waiting_runs + 1
    WHERE id = $1 AND $7::boolean AND NOT EXISTS (SELECT FROM reserved)
      AND ($2::text IS NULL OR EXISTS (SELECT FROM keyed))
    RETURNING CASE
      WHEN used_concurrent_runs + 1 > quota_concurrent_runs
        THEN format('concurrentRuns: 1 requested, %s of %s used', used_concurrent_runs, quota_concurrent_runs)
      WHEN used_cpu_millis + $5::int > quota_cpu_millis
        THEN format('cpuMillis: %s requested, %s of %s used', $5::int, used_cpu_millis, quota_cpu_millis)
      WHEN used_memory_bytes + $6::bigint > quota_memory_bytes
        THEN format('memoryBytes: %s requested, %s of %s used', $6::bigint, used_memory_bytes, quota_memory_bytes)
    END AS shortage
  ), outcome AS (
    SELECT true AS reserved, NULL::text AS shortage FROM reserved
    UNION ALL SELECT false, shortage FROM waiting
  ), run AS (
    INSERT INTO runs (id, tenant_id, state, reserved, waiting_for, waiting_reason, image, digest, spec, labels, cpu_millis, memory_bytes,
                      priority, max_attempts, on_node_lost, created_at, queued_at, needs)
    SELECT $4, $1, 'queued', reserved, CASE WHEN NOT reserved THEN 'quota' END,
           CASE WHEN NOT reserved THEN coalesce(shortage, 'earlier runs of this tenant wait for quota') END,
           $8, $9, $10, $11, $5, $6, $12, $13, $14, $15, $15, $16
    FROM outcome
    RETURNING id, reserved, waiting_for, waiting_reason
  ), event AS (
    INSERT INTO run_events (run_id, tenant_id, type, state, message, at)
    SELECT run.id, $1, e.type, 'queued', e.message, $15
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

/** See `RunStore.admit`. `findRun` reads a run of the tenant as it stands. */
export async function admit(pool: pg.Pool, input: AdmitInput, findRun: (runId: string) => Promise<RunRow | null>): Promise<AdmitOutcome> {
  const runId = newId('run', input.now.getTime(), randomBytes(idRandomBytes));
  for (let round = 0; round < maxRounds; round++) {
    const standing = await readStanding(pool, input);
    const known = await answerKnown(input, standing, findRun);
    if (known !== null) return known;
    const refusal = await refuse(pool, input, standing);
    if (refusal !== null) return refusal;

    const row = await writeRun(pool, input, runId);
    if (row === null) continue;
    // A place was free behind the line, or this run belongs at its head: whoever is first now gets it.
    const admitted = row.reserved || (row.fits && (await admitLine(pool, input)).includes(runId));
    const run = admitted && !row.reserved ? await findRun(runId) : newRunRow(input, standing.tenant_name, runId, row);
    if (run === null) throw new Error(`run ${runId} vanished`);
    return { kind: 'created', run, admitted };
  }
  throw new AppError('unavailable', 'too many submissions at once; try again');
}

async function readStanding(pool: pg.Pool, input: AdmitInput): Promise<Standing> {
  const result = await pool.query<Standing>({
    name: 'admit-standing',
    text: standingStatement,
    values: [input.tenantId, input.idempotency?.key ?? null],
  });
  const standing = result.rows[0];
  if (standing === undefined) throw new AppError('notFound', 'there is no such tenant');
  return standing;
}

async function answerKnown(
  input: AdmitInput,
  standing: Standing,
  findRun: (runId: string) => Promise<RunRow | null>,
): Promise<AdmitOutcome | null> {
  if (standing.known_run_id === null || input.idempotency === null) return null;
  if (standing.known_body_hash !== input.idempotency.bodyHash) return { kind: 'refused', code: 'idempotencyMismatch' };
  const run = await findRun(standing.known_run_id);
  // A run deleted this instant took its key along: the next round submits anew.
  return run === null ? null : { kind: 'replayed', run };
}

async function refuse(pool: pg.Pool, input: AdmitInput, standing: Standing): Promise<AdmitOutcome | null> {
  const quota = { concurrentRuns: standing.quota_runs, cpuMillis: standing.quota_cpu, memoryBytes: standing.quota_memory };
  const used = { concurrentRuns: standing.used_runs, cpuMillis: standing.used_cpu, memoryBytes: standing.used_memory };
  const requested = runAmount(input.request);
  const decision = checkQuota(quota, used, requested);
  if (decision.kind === 'neverFits') return refused('quotaNeverFits', decision);
  if (input.onQuota === 'queue') return null;
  if (decision.kind === 'exceeds') return refused('overQuota', decision);
  if (standing.waiting_runs === 0) return null;
  const dimension = await lineShortage(pool, input.tenantId, quota, used);
  return refused('overQuota', {
    kind: 'exceeds',
    dimension,
    limit: quota[dimension],
    used: used[dimension],
    requested: requested[dimension],
  });
}

function refused(code: 'overQuota' | 'quotaNeverFits', decision: Exclude<QuotaDecision, { kind: 'fits' }>): AdmitOutcome {
  const { dimension, limit, used, requested } = decision;
  return { kind: 'refused', code, dimension, limit, used, requested };
}

/** What the first of those who wait is short of. */
async function lineShortage(pool: pg.Pool, tenantId: string, quota: QuotaAmount, used: QuotaAmount): Promise<keyof QuotaAmount> {
  const result = await pool.query<{ cpu_millis: number; memory_bytes: number }>(
    `SELECT cpu_millis, memory_bytes FROM runs WHERE tenant_id = $1 AND state = 'queued' AND NOT reserved ORDER BY priority DESC, id LIMIT 1`,
    [tenantId],
  );
  const head = result.rows[0];
  if (head === undefined) return 'concurrentRuns';
  const decision = checkQuota(quota, used, runAmount({ cpuMillis: head.cpu_millis, memoryBytes: head.memory_bytes }));
  return decision.kind === 'fits' ? 'concurrentRuns' : decision.dimension;
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
  try {
    const result = await pool.query<WrittenRun>({
      name: 'admit-run',
      text: admitStatement,
      values: [
        input.tenantId,
        input.idempotency?.key ?? null,
        input.idempotency?.bodyHash ?? null,
        runId,
        input.request.cpuMillis,
        input.request.memoryBytes,
        input.onQuota === 'queue',
        input.image,
        input.digest,
        JSON.stringify(input.spec),
        JSON.stringify(input.labels),
        input.priority,
        input.maxAttempts,
        onNodeLost(input),
        input.now,
        input.needs ?? [],
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

function admitLine(pool: pg.Pool, input: AdmitInput): Promise<string[]> {
  return retryOnDeadlock(() =>
    inTransaction(pool, async (client) => {
      await lockTenants(client, [input.tenantId]);
      return admitWaiting(client, [input.tenantId], input.now);
    }),
  );
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

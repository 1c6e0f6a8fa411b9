import {
  type AdmissionDecision,
  amountOf,
  budgetMonth,
  describeShortage,
  type QuotaAmount,
  quotaDimensions,
  rateMinute,
} from '@berth/core';
import type pg from 'pg';
import type { AdmitInput } from '../ports.js';
import type { Standing } from './admission-standing.js';
import { dimensionColumns, each, runColumns, submissionsNow, usedNow } from './quota-columns.js';

/*
 * The writing half of admission: one statement for runs of any number of tenants. Each tenant's runs are written together or not at all: its row's guard
 * holds the sums against what is left at that moment, whatever was decided on an older look.
 */

/** A run that was decided to be accepted. */
export interface AcceptedRun {
  readonly runId: string;
  readonly input: AdmitInput;
  readonly amount: QuotaAmount;
  readonly decision: Extract<AdmissionDecision, { kind: 'reserve' | 'wait' }>;
}

const behindOthers = 'earlier runs of this tenant wait for quota';
/** Why an accepted run waits; null when it does not. */
export function waitingReason({ decision }: AcceptedRun): string | null {
  if (decision.kind === 'reserve') return null;
  return decision.shortage === null ? behindOthers : describeShortage(decision.shortage);
}

const sums = each(', ', (c) => `${c.name} bigint`);
const amounts = each(', ', (c) => `${c.run} bigint`, runColumns);

/*
 * Tenants are locked in order of their ids. Beside others, one whose row is locked is left out, so that nobody waits for another tenant's writes.
 * A key that another submission wrote meanwhile undoes the whole statement.
 */
const writeStatement = (onLocked: '' | 'SKIP LOCKED') => `
  WITH ask AS (
    SELECT * FROM jsonb_to_recordset($1) AS a(tenant_id text, accepted int, waiting int, ${sums})
  ), locked AS (
    SELECT id FROM tenants WHERE id IN (SELECT tenant_id FROM ask) ORDER BY id FOR NO KEY UPDATE ${onLocked}
  ), taken AS (
    UPDATE tenants SET
      ${each(', ', (c) => `used_${c.name} = ${usedNow(c, '$3::int')} + ask.${c.name}`)},
      waiting_runs = waiting_runs + ask.waiting, budget_month = greatest(budget_month, $3::int),
      rate_minute = greatest(rate_minute, $4::int), rate_submissions = ${submissionsNow('$4::int')} + ask.accepted
    FROM ask JOIN locked ON locked.id = ask.tenant_id
    WHERE tenants.id = ask.tenant_id
      AND (ask.concurrent_runs = 0 OR (waiting_runs = 0 AND ${each(' AND ', (c) => `${usedNow(c, '$3::int')} + ask.${c.name} <= quota_${c.name}`)}))
      AND (ask.waiting = 0 OR waiting_runs + ask.waiting <= quota_queued_runs)
      AND ${submissionsNow('$4::int')} + ask.accepted <= quota_submissions_per_minute
    RETURNING tenants.id AS tenant_id, budget_month, ${each(', ', (c) => `quota_${c.name} - used_${c.name} AS left_${c.name}`)}
  ), run AS (
    INSERT INTO runs (id, tenant_id, state, reserved, waiting_for, waiting_reason, image, digest, spec, labels,
                      priority, max_attempts, on_node_lost, created_at, queued_at, needs, budget_month, ${each(', ', (c) => c.run, runColumns)})
    SELECT r.id, r.tenant_id, 'queued', r.reserved, CASE WHEN NOT r.reserved THEN 'quota' END, r.reason, r.image, r.digest, r.spec, r.labels,
           r.priority, r.max_attempts, r.on_node_lost, r.at, r.at, r.needs, CASE WHEN r.reserved THEN taken.budget_month ELSE 0 END,
           ${each(', ', (c) => `r.${c.run}`, runColumns)}
    FROM jsonb_to_recordset($2) AS r(id text, tenant_id text, reserved boolean, reason text, image text, digest text, spec jsonb, labels jsonb,
                                     priority int, max_attempts int, on_node_lost text, at timestamptz, needs text[], ${amounts})
    JOIN taken ON taken.tenant_id = r.tenant_id
    RETURNING id, tenant_id, reserved, waiting_reason, created_at
  ), keyed AS (
    INSERT INTO idempotency_keys (tenant_id, key, body_hash, run_id)
    SELECT k.tenant_id, k.key, k.body_hash, k.id FROM jsonb_to_recordset($2) AS k(id text, tenant_id text, key text, body_hash text)
    JOIN taken ON taken.tenant_id = k.tenant_id WHERE k.key IS NOT NULL
  ), event AS (
    INSERT INTO run_events (run_id, tenant_id, type, state, message, at)
    SELECT run.id, run.tenant_id, e.type, 'queued', e.message, run.created_at
    FROM run CROSS JOIN LATERAL (VALUES
      (1, 'created', NULL),
      (2, CASE WHEN run.reserved THEN 'admitted' ELSE 'waiting' END, run.waiting_reason)
    ) AS e (place, type, message)
    ORDER BY run.id, e.place
  ), box AS (
    INSERT INTO outbox (run_id, attempt) SELECT id, 1 FROM run WHERE reserved ORDER BY id
  )
  SELECT * FROM taken`;

const writeOne = { name: 'admit-one', text: writeStatement('') };
const writeMany = { name: 'admit-many', text: writeStatement('SKIP LOCKED') };

export interface AdmissionGroup {
  readonly standing: Standing;
  readonly accepted: readonly AcceptedRun[];
}

/** Writes each tenant's group or none of it. Returns, of those written, what is left of the tenant's quota. All groups are of one minute. */
export async function writeAdmissions(pool: pg.Pool, groups: readonly AdmissionGroup[], now: Date): Promise<Map<string, QuotaAmount>> {
  const { rows } = await pool.query<Record<string, unknown> & { tenant_id: string }>({
    ...(groups.length === 1 ? writeOne : writeMany),
    values: [
      JSON.stringify(groups.map(groupRecord)),
      JSON.stringify(groups.flatMap(({ accepted }) => accepted.map(runRecord))),
      budgetMonth(now),
      rateMinute(now),
    ],
  });
  const nameOf = new Map(dimensionColumns.map(({ dimension, name }) => [dimension, name]));
  return new Map(rows.map((row) => [row.tenant_id, amountOf((dimension) => Number(row[`left_${nameOf.get(dimension)}`]))]));
}

function groupRecord({ standing, accepted }: AdmissionGroup): Record<string, unknown> {
  const reserved = accepted.filter(({ decision }) => decision.kind === 'reserve');
  const total = (dimension: (typeof quotaDimensions)[number]) => reserved.reduce((sum, { amount }) => sum + amount[dimension], 0);
  return {
    tenant_id: standing.tenantId,
    accepted: accepted.length,
    waiting: accepted.length - reserved.length,
    ...Object.fromEntries(dimensionColumns.map(({ dimension, name }) => [name, total(dimension)])),
  };
}

function runRecord(run: AcceptedRun): Record<string, unknown> {
  const { input, amount } = run;
  return {
    id: run.runId,
    tenant_id: input.tenantId,
    reserved: run.decision.kind === 'reserve',
    reason: waitingReason(run),
    image: input.image,
    digest: input.digest,
    spec: input.spec,
    labels: input.labels,
    priority: input.priority,
    max_attempts: input.maxAttempts,
    on_node_lost: onNodeLost(input),
    at: input.now,
    needs: input.needs ?? [],
    key: input.idempotency?.key ?? null,
    body_hash: input.idempotency?.bodyHash ?? null,
    ...Object.fromEntries(runColumns.map((columns) => [columns.run, amount[columns.dimension]])),
  };
}

function onNodeLost(input: AdmitInput): 'wait' | 'retry' {
  const chosen = (input.spec as { onNodeLost?: unknown } | null)?.onNodeLost;
  if (chosen === 'wait' || chosen === 'retry') return chosen;
  return input.maxAttempts > 1 ? 'retry' : 'wait';
}

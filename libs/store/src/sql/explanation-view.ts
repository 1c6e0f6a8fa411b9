import { budgetMonth, type ExplanationView, type FleetNode, type QuotaAmount } from '@berth/core';
import type pg from 'pg';
import { each, readAmount, runColumns, usedNow } from './quota-columns.js';

/** Lines and holders are shown up to here: what is beyond makes no difference that people could see. */
const shownMax = 1000;

const amount = (run: string): string =>
  `jsonb_build_object(${each(', ', (c) => `'${c.dimension}', ${c.run === '1' ? '1' : `${run}.${c.run}`}`)})`;

/* One statement, hence one snapshot. The two halves of `line` each have an index of their own, and only one of them has rows. A run that exceeds its whole quota is not in the way of others: admission passes it over. */
const viewOf = (me: string): string => `
  WITH me AS (${me}), line AS (
    SELECT r.* FROM me JOIN runs r ON r.tenant_id = $1 AND r.state = 'queued' AND NOT r.reserved WHERE me.state = 'queued' AND NOT me.reserved
    UNION ALL
    SELECT r.* FROM me JOIN runs r ON r.tenant_id = $1 AND r.state = 'queued' AND r.reserved WHERE me.state = 'queued' AND me.reserved
  )
  SELECT me.state, me.reserved, me.needs, ${amount('me')} AS amount,
    ${each(', ', (c) => `tenants.quota_${c.name} AS quota_${c.name}, ${usedNow(c, '$3::int')} AS used_${c.name}`)},
    (SELECT coalesce(jsonb_agg(ahead.amount ORDER BY ahead.priority DESC, ahead.id), '[]') FROM (
      SELECT ${amount('r')} AS amount, r.priority, r.id FROM line r
      WHERE (r.priority > me.priority OR (r.priority = me.priority AND r.id < me.id))
        AND (r.reserved OR (${each(' AND ', (c) => `${c.run === '1' ? '1' : `r.${c.run}`} <= tenants.quota_${c.name}`)}))
      ORDER BY r.priority DESC, r.id LIMIT ${shownMax}
    ) AS ahead) AS ahead,
    (SELECT count(*)::int FROM line) AS line_length,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('amount', held.amount, 'startedAt', held.started_at, 'timeoutMs', held.timeout_ms)), '[]') FROM (
      SELECT ${amount('r')} AS amount, r.started_at, coalesce((r.spec->>'timeoutMs')::bigint, 0) AS timeout_ms FROM runs r
      WHERE r.tenant_id = $1 AND (r.node_id IS NOT NULL OR (r.state = 'queued' AND r.reserved)) LIMIT ${shownMax}
    ) AS held) AS holders,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM late.finished_at - late.started_at) * 1000) FROM (
      SELECT r.started_at, r.finished_at FROM runs r WHERE r.tenant_id = $1 AND r.finished_at IS NOT NULL AND r.started_at IS NOT NULL
      ORDER BY r.finished_at DESC LIMIT 100
    ) AS late) AS typical_ms,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'id', id, 'state', state, 'cpuMillis', cpu_millis, 'memoryBytes', memory_bytes, 'diskBytes', disk_bytes,
        'reserved', jsonb_build_object('cpuMillis', reserved_cpu_millis, 'memoryBytes', reserved_memory_bytes, 'diskBytes', reserved_disk_bytes,
                                       'runs', reserved_runs),
        'features', features
      )), '[]') FROM nodes WHERE state <> 'dead') AS nodes
  FROM me JOIN tenants ON tenants.id = me.tenant_id`;

const runStatement = viewOf('SELECT * FROM runs WHERE tenant_id = $1 AND id = $2');
/* One that is not there, as it would stand when it was admitted now. */
const quoteStatement = viewOf(`
  SELECT $1::text AS tenant_id, $2::text AS id, 'queued' AS state, $4::boolean AS reserved, $5::text[] AS needs, $6::int AS priority,
    ${each(', ', (c) => `($7::jsonb->>'${c.dimension}')::bigint AS ${c.run}`, runColumns)}`);

interface Row extends Record<string, unknown> {
  state: string;
  reserved: boolean;
  needs: string[];
  amount: QuotaAmount;
  ahead: QuotaAmount[];
  line_length: number;
  holders: { amount: QuotaAmount; startedAt: string | null; timeoutMs: number }[];
  typical_ms: number | null;
  nodes: FleetNode[];
}

/** See `RunStore.explanationView`. */
export async function explanationView(pool: pg.Pool, tenantId: string, runId: string, now: Date): Promise<ExplanationView | null> {
  const { rows } = await pool.query<Row>({ name: 'explanation-view', text: runStatement, values: [tenantId, runId, budgetMonth(now)] });
  const [row] = rows;
  return row === undefined ? null : viewOfRow(row);
}

/** A run that might be submitted. `reserved`: it would get its quota at once. */
export interface ImaginedRun {
  readonly tenantId: string;
  /** Sorts behind those of all that were submitted. */
  readonly runId: string;
  readonly reserved: boolean;
  readonly needs: readonly string[];
  readonly priority: number;
  readonly amount: QuotaAmount;
}

/** What `explanationView` would be if the run were admitted now; null when there is no such tenant. */
export async function imaginedView(pool: pg.Pool, imagined: ImaginedRun, now: Date): Promise<ExplanationView | null> {
  const { tenantId, runId, reserved, needs, priority, amount } = imagined;
  const values = [tenantId, runId, budgetMonth(now), reserved, needs, priority, JSON.stringify(amount)];
  const { rows } = await pool.query<Row>({ name: 'imagined-view', text: quoteStatement, values });
  const [row] = rows;
  return row === undefined ? null : viewOfRow({ ...row, line_length: row.line_length + 1 });
}

function viewOfRow(row: Row): ExplanationView {
  return {
    state: row.state,
    reserved: row.reserved,
    needs: row.needs,
    amount: row.amount,
    limit: readAmount(row, 'quota'),
    used: readAmount(row, 'used'),
    ahead: row.ahead,
    lineLength: row.line_length,
    holders: row.holders.map((holder) => ({ ...holder, startedAt: holder.startedAt === null ? null : new Date(holder.startedAt) })),
    typicalMs: row.typical_ms === null ? null : Number(row.typical_ms),
    fleet: { nodes: row.nodes },
  };
}

import type pg from 'pg';
import type { UsageQuery, UsageRow } from '../ports.js';
import { costCpuMs, costMemoryMibSeconds } from './settle.js';

/*
 * What tenants used, by the day (UTC) on which their runs ended. INVARIANT: an ended run counts once: by its own row while that is there, and by the
 * rows of its day from the statement on that forgets it.
 */

/** Values of one label that a day tells apart. Runs with others count in the whole alone. */
const labelValuesMax = 1000;

const measures = ['runs', 'attempts', 'run_ms', 'cpu_time_us', 'reserved_cpu_ms', 'reserved_memory_mib_seconds', 'log_bytes'] as const;
const list = measures.join(', ');
const sums = measures.map((name) => `sum(${name})::bigint AS ${name}`).join(', ');

/** What each ended run of `source`, named `r`, used. */
const usedBy = (source: string): string => `
  SELECT r.tenant_id, (r.finished_at AT TIME ZONE 'UTC')::date AS day, r.labels, 1 AS runs, a.attempts, r.spent_ms AS run_ms, a.cpu_time_us,
    ${costCpuMs} AS reserved_cpu_ms, ${costMemoryMibSeconds} AS reserved_memory_mib_seconds, r.kept_log_bytes AS log_bytes
  FROM ${source} CROSS JOIN LATERAL (
    SELECT count(*) AS attempts, coalesce(sum(cpu_time_us), 0) AS cpu_time_us FROM attempts WHERE attempts.run_id = r.id
  ) AS a`;

/** Common table expressions that keep what the runs used of `gone`, a relation of whole rows of runs that this statement deletes. */
export const keepUsage = (gone: string): string => `
  used AS (${usedBy(`${gone} AS r`)}), used_lines AS (
    SELECT tenant_id, day, '' AS label_key, '' AS label_value, ${list} FROM used
    UNION ALL
    SELECT tenant_id, day, label.key, label.value, ${list} FROM used CROSS JOIN LATERAL jsonb_each_text(used.labels) AS label
  ), kept_usage AS (
    INSERT INTO usage_days AS u (tenant_id, day, label_key, label_value, ${list})
    SELECT tenant_id, day, label_key, label_value, ${sums} FROM used_lines AS line
    WHERE label_key = ''
      OR EXISTS (SELECT FROM usage_days d WHERE (d.tenant_id, d.day, d.label_key, d.label_value) = (line.tenant_id, line.day, line.label_key, line.label_value))
      OR (SELECT count(*) FROM usage_days d WHERE (d.tenant_id, d.day, d.label_key) = (line.tenant_id, line.day, line.label_key)) < ${labelValuesMax}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, day, label_key, label_value) DO UPDATE SET ${measures.map((name) => `${name} = u.${name} + excluded.${name}`).join(', ')}
  )`;

/* $1 and $2: the days, the last one included; $3: the label's key, empty for none; $4: the tenant. */
const statement = (ofTenant: (table: string) => string): string => `
  WITH used AS (${usedBy(`runs AS r`)}
    WHERE r.finished_at >= $1::date::timestamp AT TIME ZONE 'UTC' AND r.finished_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC' AND ${ofTenant('r')}
  ), lines AS (
    SELECT tenant_id, day, coalesce(labels->>$3, '') AS label_value, ${list} FROM used WHERE $3 = '' OR labels ? $3
    UNION ALL
    SELECT tenant_id, day, label_value, ${list} FROM usage_days AS d WHERE day BETWEEN $1::date AND $2::date AND label_key = $3 AND ${ofTenant('d')}
  )
  SELECT tenants.name AS tenant_name, day::text, label_value, ${sums}
  FROM lines JOIN tenants ON tenants.id = lines.tenant_id GROUP BY 1, 2, 3 ORDER BY 2, 1, 3 LIMIT $5`;
const ofOne = statement((table) => `${table}.tenant_id = $4`);
const ofAll = statement((table) => `($4::text IS NULL OR ${table}.tenant_id = $4)`);

type Row = Record<(typeof measures)[number], number> & { tenant_name: string; day: string; label_value: string };

/** See `RunStore.usage`. */
export async function usage(pool: pg.Pool, { tenantId, from, to, label, limit }: UsageQuery): Promise<UsageRow[]> {
  const whole = tenantId === null;
  const { rows } = await pool.query<Row>({
    name: whole ? 'usage-of-all' : 'usage',
    text: whole ? ofAll : ofOne,
    values: [from, to, label ?? '', tenantId, limit],
  });
  return rows.map((row) => ({
    tenantName: row.tenant_name,
    day: row.day,
    labelValue: label === null ? null : row.label_value,
    runs: Number(row.runs),
    attempts: Number(row.attempts),
    runMs: Number(row.run_ms),
    cpuTimeUs: Number(row.cpu_time_us),
    reservedCpuMs: Number(row.reserved_cpu_ms),
    reservedMemoryMibSeconds: Number(row.reserved_memory_mib_seconds),
    logBytes: Number(row.log_bytes),
  }));
}

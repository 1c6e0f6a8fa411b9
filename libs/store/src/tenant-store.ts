import { randomBytes } from 'node:crypto';
import { AppError, type AuditAction, idRandomBytes, type LimitDimension, limitDimensions, newId } from '@berth/core';
import type pg from 'pg';
import type { Prisma, PrismaClient } from './generated/client.js';
import { inTransaction, retryOnDeadlock } from './pool.js';
import { type Actor, type QuotaRow, type RunLimitsRow, systemActor, type TenantRow, TenantStore } from './ports.js';
import { tenantRow } from './rows.js';
import { admitWaiting, lockTenants } from './sql/admit-waiting.js';
import { writeAudit } from './sql/audit.js';
import { type DimensionColumns, each, readAmount } from './sql/quota-columns.js';

const uniqueViolation = 'P2002';
const intMax = 2 ** 31 - 1;

export class PrismaTenantStore extends TenantStore {
  constructor(
    private readonly prisma: PrismaClient,
    private readonly pool: pg.Pool,
  ) {
    super();
  }

  override async create(input: Parameters<TenantStore['create']>[0], by: Actor = systemActor): Promise<TenantRow> {
    const createdAt = new Date();
    const id = newId('ten', createdAt.getTime(), randomBytes(idRandomBytes));
    try {
      const [tenant] = await this.prisma.$transaction([
        this.prisma.tenant.create({
          data: {
            id,
            name: input.name,
            ...quotaFields(input.quota),
            runLimits: (input.runLimits ?? {}) as Prisma.InputJsonObject,
            ...(input.weight === undefined ? {} : { weight: input.weight }),
            requireDigest: input.requireDigest,
            features: [...(input.features ?? [])],
            retainRunsMs: input.retainRunsMs ?? null,
            createdAt,
          },
        }),
        this.prisma.auditEntry.create({ data: auditFields(by, id, { ...input }) }),
      ]);
      return tenantRow(tenant, new Date());
    } catch (error) {
      if ((error as { code?: string }).code === uniqueViolation)
        throw new AppError('conflict', `there is a tenant named ${input.name} already`);
      throw error;
    }
  }

  override async list(): Promise<TenantRow[]> {
    return (await this.prisma.tenant.findMany({ orderBy: { id: 'asc' } })).map((tenant) => tenantRow(tenant, new Date()));
  }

  override async find(id: string): Promise<TenantRow | null> {
    const tenant = await this.prisma.tenant.findUnique({ where: { id } });
    return tenant === null ? null : tenantRow(tenant, new Date());
  }

  override async findByName(name: string): Promise<TenantRow | null> {
    const tenant = await this.prisma.tenant.findUnique({ where: { name } });
    return tenant === null ? null : tenantRow(tenant, new Date());
  }

  override async update(
    id: string,
    change: {
      quota?: Partial<QuotaRow>;
      requireDigest?: boolean;
      features?: readonly string[];
      runLimits?: Partial<RunLimitsRow>;
      weight?: number;
      retainRunsMs?: number | null;
    },
    by: Actor = systemActor,
  ): Promise<{ tenant: TenantRow; admitted: string[] } | null> {
    const limits = limitDimensions.filter((dimension) => change.quota?.[dimension] !== undefined);
    const admitted = await retryOnDeadlock(() =>
      inTransaction(this.pool, async (client) => {
        await lockTenants(client, [id]);
        const { rowCount } = await client.query(
          `UPDATE tenants SET ${limits.map((dimension, i) => `${quotaColumn(dimension)} = $${i + 8}, `).join('')}
             require_digest = coalesce($2, require_digest), run_limits = run_limits || coalesce($3::jsonb, '{}'),
             features = coalesce($4, features), weight = coalesce($5, weight),
             retain_runs_ms = CASE WHEN $6 THEN $7::bigint ELSE retain_runs_ms END
           WHERE id = $1`,
          [
            id,
            change.requireDigest ?? null,
            change.runLimits === undefined ? null : JSON.stringify(change.runLimits),
            change.features ?? null,
            change.weight ?? null,
            change.retainRunsMs !== undefined,
            change.retainRunsMs ?? null,
            ...limits.map((dimension) => change.quota?.[dimension]),
          ],
        );
        if (rowCount === 1) await writeAudit(client, by, { action: 'tenant.update', tenantId: id, target: id, details: change });
        return admitWaiting(client, [id], new Date());
      }),
    );
    const tenant = await this.find(id);
    return tenant === null ? null : { tenant, admitted };
  }

  override async recount(): Promise<{ tenantId: string; used: QuotaRow; sum: QuotaRow }[]> {
    const { rows } = await this.pool.query<RecountRow>(
      `SELECT t.id, t.waiting_runs, ${each(', ', (c) => `t.used_${c.name}`)},
              ${each(', ', (c) => `${recounted(c)} AS sum_${c.name}`)},
              (SELECT count(*) FROM runs WHERE tenant_id = t.id AND state = 'queued' AND NOT reserved) AS sum_waiting_runs
       FROM tenants t
       CROSS JOIN LATERAL (SELECT ${each(', ', (c) => `${held(c)} AS ${c.name}`)} FROM runs r WHERE r.tenant_id = t.id) AS runs
       LEFT JOIN budgets b ON b.tenant_id = t.id AND b.month = t.budget_month
       ORDER BY t.id`,
    );
    return rows.map((row) => ({
      tenantId: row.id,
      used: { ...readAmount(row, 'used'), queuedRuns: row.waiting_runs, submissionsPerMinute: 0 },
      sum: { ...readAmount(row, 'sum'), queuedRuns: row.sum_waiting_runs, submissionsPerMinute: 0 },
    }));
  }
}

interface RecountRow extends Record<string, unknown> {
  id: string;
  waiting_runs: number;
  sum_waiting_runs: number;
}

/** What runs hold of a dimension: of logs also what those that ended have kept, of budgets only what is of the tenant's current month. */
function held({ dimension, run, monthly }: DimensionColumns): string {
  const isHolding = monthly ? 'r.reserved AND r.budget_month = t.budget_month' : 'r.reserved';
  const kept = dimension === 'logBytes' ? `WHEN r.state IN ('succeeded', 'failed', 'canceled') THEN r.kept_log_bytes ` : '';
  return `coalesce(sum(CASE WHEN ${isHolding} THEN ${run === '1' ? '1' : `r.${run}`} ${kept}ELSE 0 END), 0)::bigint`;
}

/** What runs hold, and what those that ended have spent. */
function recounted({ dimension, name }: DimensionColumns): string {
  if (dimension === 'monthlyCpuMs') return `(runs.${name} + coalesce(b.spent_cpu_ms, 0))`;
  if (dimension === 'monthlyMemoryMibSeconds') return `(runs.${name} + coalesce(b.spent_memory_mib_seconds, 0))`;
  return `runs.${name}`;
}

/** The entry of a tenant's creation, as Prisma takes it. */
function auditFields(by: Actor, id: string, details: object) {
  const { keyId: actorKeyId, name: actorName, owner: actorOwner, requestId } = by;
  const action: AuditAction = 'tenant.create';
  return { tenantId: id, actorKeyId, actorName, actorOwner, requestId, action, target: id, details: details as Prisma.InputJsonObject };
}

const quotaColumn = (dimension: LimitDimension) => `quota_${dimension.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;

/** Limits as the fields of Prisma's model; a limit that is not given is none, but for those that the first version had. */
function quotaFields(quota: Partial<QuotaRow>) {
  const { concurrentRuns = intMax, cpuMillis = intMax, memoryBytes = Number.MAX_SAFE_INTEGER, ...rest } = quota;
  const fields = Object.entries(rest).flatMap(([name, value]) =>
    value === undefined ? [] : [[`quota${name.charAt(0).toUpperCase()}${name.slice(1)}`, value] as const],
  );
  return { quotaConcurrentRuns: concurrentRuns, quotaCpuMillis: cpuMillis, quotaMemoryBytes: memoryBytes, ...Object.fromEntries(fields) };
}

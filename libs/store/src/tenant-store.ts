import { randomBytes } from 'node:crypto';
import { AppError, idRandomBytes, newId } from '@berth/core';
import type pg from 'pg';
import type { PrismaClient } from './generated/client.js';
import { inTransaction, retryOnDeadlock } from './pool.js';
import { type QuotaRow, type TenantRow, TenantStore } from './ports.js';
import { tenantRow } from './rows.js';
import { admitWaiting, lockTenants } from './sql/admit-waiting.js';

const uniqueViolation = 'P2002';

export class PrismaTenantStore extends TenantStore {
  constructor(
    private readonly prisma: PrismaClient,
    private readonly pool: pg.Pool,
  ) {
    super();
  }

  override async create(input: {
    name: string;
    quota: QuotaRow;
    requireDigest: boolean;
    features?: readonly string[];
  }): Promise<TenantRow> {
    const createdAt = new Date();
    try {
      const tenant = await this.prisma.tenant.create({
        data: {
          id: newId('ten', createdAt.getTime(), randomBytes(idRandomBytes)),
          name: input.name,
          quotaConcurrentRuns: input.quota.concurrentRuns,
          quotaCpuMillis: input.quota.cpuMillis,
          quotaMemoryBytes: input.quota.memoryBytes,
          requireDigest: input.requireDigest,
          features: [...(input.features ?? [])],
          createdAt,
        },
      });
      return tenantRow(tenant);
    } catch (error) {
      if ((error as { code?: string }).code === uniqueViolation)
        throw new AppError('conflict', `there is a tenant named ${input.name} already`);
      throw error;
    }
  }

  override async list(): Promise<TenantRow[]> {
    return (await this.prisma.tenant.findMany({ orderBy: { id: 'asc' } })).map(tenantRow);
  }

  override async find(id: string): Promise<TenantRow | null> {
    const tenant = await this.prisma.tenant.findUnique({ where: { id } });
    return tenant === null ? null : tenantRow(tenant);
  }

  override async findByName(name: string): Promise<TenantRow | null> {
    const tenant = await this.prisma.tenant.findUnique({ where: { name } });
    return tenant === null ? null : tenantRow(tenant);
  }

  override async update(
    id: string,
    change: { quota?: Partial<QuotaRow>; requireDigest?: boolean; features?: readonly string[] },
  ): Promise<{ tenant: TenantRow; admitted: string[] } | null> {
    const { concurrentRuns, cpuMillis, memoryBytes } = change.quota ?? {};
    const admitted = await retryOnDeadlock(() =>
      inTransaction(this.pool, async (client) => {
        await lockTenants(client, [id]);
        await client.query(
          `UPDATE tenants SET
             quota_concurrent_runs = coalesce($2, quota_concurrent_runs), quota_cpu_millis = coalesce($3, quota_cpu_millis),
             quota_memory_bytes = coalesce($4, quota_memory_bytes), require_digest = coalesce($5, require_digest),
             features = coalesce($6, features)
           WHERE id = $1`,
          [id, concurrentRuns ?? null, cpuMillis ?? null, memoryBytes ?? null, change.requireDigest ?? null, change.features ?? null],
        );
        return admitWaiting(client, [id], new Date());
      }),
    );
    const tenant = await this.find(id);
    return tenant === null ? null : { tenant, admitted };
  }

  override async recount(): Promise<{ tenantId: string; used: QuotaRow; sum: QuotaRow }[]> {
    const { rows } = await this.pool.query<
      Record<'used_runs' | 'used_cpu' | 'used_memory' | 'runs' | 'cpu' | 'memory', number> & { id: string }
    >(
      `SELECT t.id, t.used_concurrent_runs AS used_runs, t.used_cpu_millis AS used_cpu, t.used_memory_bytes AS used_memory,
              count(r.id) AS runs, coalesce(sum(r.cpu_millis), 0)::bigint AS cpu, coalesce(sum(r.memory_bytes), 0)::bigint AS memory
       FROM tenants t LEFT JOIN runs r ON r.tenant_id = t.id AND r.reserved
       GROUP BY t.id ORDER BY t.id`,
    );
    return rows.map((row) => ({
      tenantId: row.id,
      used: { concurrentRuns: row.used_runs, cpuMillis: row.used_cpu, memoryBytes: row.used_memory },
      sum: { concurrentRuns: row.runs, cpuMillis: row.cpu, memoryBytes: row.memory },
    }));
  }
}

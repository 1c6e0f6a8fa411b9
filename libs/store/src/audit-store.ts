import type { AuditAction } from '@berth/core';
import type pg from 'pg';
import type { PrismaClient } from './generated/client.js';
import { type Actor, type AuditEntryRow, AuditStore } from './ports.js';
import { type AuditNote, writeAudit } from './sql/audit.js';

export class PrismaAuditStore extends AuditStore {
  constructor(
    private readonly prisma: PrismaClient,
    private readonly pool: pg.Pool,
  ) {
    super();
  }

  override record(by: Actor, note: AuditNote): Promise<void> {
    return writeAudit(this.pool, by, note);
  }

  override async list(filter: { tenantId?: string; before?: bigint; limit: number }): Promise<AuditEntryRow[]> {
    const entries = await this.prisma.auditEntry.findMany({
      where: {
        ...(filter.tenantId === undefined ? {} : { tenantId: filter.tenantId }),
        ...(filter.before === undefined ? {} : { id: { lt: filter.before } }),
      },
      orderBy: { id: 'desc' },
      take: filter.limit,
    });
    return entries.map(({ actorKeyId, actorName, actorOwner, requestId, action, details, ...entry }) => ({
      ...entry,
      actor: { keyId: actorKeyId, name: actorName, owner: actorOwner as Actor['owner'], requestId },
      action: action as AuditAction,
      details: details as Record<string, unknown>,
    }));
  }
}

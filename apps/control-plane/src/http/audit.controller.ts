import { type AuditEntryRow, AuditStore, type TenantRow } from '@berth/store';
import { auditList, auditQuery } from '@berth/wire';
import { Controller, Get, Inject, Query } from '@nestjs/common';
import type { z } from 'zod';
import { Api } from './api.js';
import { CallingTenant } from './caller.js';
import { renderAuditEntry } from './render.js';

type AuditPage = z.infer<typeof auditList>;
type AuditQuery = z.infer<typeof auditQuery>;

/** Who changed what. */
@Controller('v1')
export class AuditController {
  constructor(@Inject(AuditStore) private readonly audit: AuditStore) {}

  @Get('audit')
  @Api({ summary: 'What was changed of your tenant, newest first', key: 'tenant', scope: 'audit:read', status: 200, answer: auditList })
  async ofTenant(@CallingTenant() tenant: TenantRow, @Query({ schema: auditQuery }) query: AuditQuery): Promise<AuditPage> {
    return this.page(query, { tenantId: tenant.id }, 'tenant');
  }

  @Get('admin/audit')
  @Api({ summary: 'What was changed by anyone, newest first', key: 'admin', scope: 'audit:read', status: 200, answer: auditList })
  async ofAll(@Query({ schema: auditQuery }) query: AuditQuery): Promise<AuditPage> {
    return this.page(query, {}, 'operator');
  }

  private async page({ limit, cursor }: AuditQuery, of: { tenantId?: string }, reader: 'tenant' | 'operator'): Promise<AuditPage> {
    const found = await this.audit.list({ ...of, limit: limit + 1, ...(cursor === undefined ? {} : { before: BigInt(cursor) }) });
    const items = found.slice(0, limit).map((row: AuditEntryRow) => renderAuditEntry(row, reader));
    return { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null };
  }
}

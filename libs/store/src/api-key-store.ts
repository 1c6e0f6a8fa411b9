import { randomBytes } from 'node:crypto';
import { idRandomBytes, newId } from '@berth/core';
import type { PrismaClient } from './generated/client.js';
import { type ApiKeyRow, ApiKeyStore, type TenantRow } from './ports.js';
import { apiKeyRow, tenantRow } from './rows.js';

export class PrismaApiKeyStore extends ApiKeyStore {
  constructor(private readonly prisma: PrismaClient) {
    super();
  }

  override async create(input: { tenantId: string | null; name: string; hash: string; expiresAt: Date | null }): Promise<ApiKeyRow> {
    const createdAt = new Date();
    const id = newId('key', createdAt.getTime(), randomBytes(idRandomBytes));
    return apiKeyRow(await this.prisma.apiKey.create({ data: { id, createdAt, ...input } }));
  }

  override async list(tenantId: string): Promise<ApiKeyRow[]> {
    return (await this.prisma.apiKey.findMany({ where: { tenantId }, orderBy: { id: 'asc' } })).map(apiKeyRow);
  }

  override async revoke(tenantId: string, keyId: string): Promise<boolean> {
    // A key revoked twice keeps the time of the first.
    await this.prisma.apiKey.updateMany({ where: { id: keyId, tenantId, revokedAt: null }, data: { revokedAt: new Date() } });
    return (await this.prisma.apiKey.count({ where: { id: keyId, tenantId } })) > 0;
  }

  override async authenticate(hash: string, now: Date): Promise<{ key: ApiKeyRow; tenant: TenantRow | null } | null> {
    const found = await this.prisma.apiKey.findUnique({ where: { hash }, include: { tenant: true }, relationLoadStrategy: 'join' });
    if (found === null || found.revokedAt !== null || (found.expiresAt !== null && found.expiresAt <= now)) return null;
    return { key: apiKeyRow(found), tenant: found.tenant === null ? null : tenantRow(found.tenant, now) };
  }
}

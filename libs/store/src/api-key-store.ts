import { randomBytes } from 'node:crypto';
import { AppError, idRandomBytes, newId } from '@berth/core';
import type pg from 'pg';
import type { PrismaClient } from './generated/client.js';
import { inTransaction } from './pool.js';
import { type Actor, type ApiKeyInput, type ApiKeyRow, ApiKeyStore, systemActor, type TenantRow } from './ports.js';
import { apiKeyRow, tenantRow } from './rows.js';
import { writeAudit } from './sql/audit.js';

const withMember = { include: { member: true }, relationLoadStrategy: 'join' } as const;

export class PrismaApiKeyStore extends ApiKeyStore {
  constructor(
    private readonly prisma: PrismaClient,
    private readonly pool: pg.Pool,
  ) {
    super();
  }

  override async create(input: ApiKeyInput, by: Actor = systemActor): Promise<ApiKeyRow> {
    const id = await inTransaction(this.pool, async (client) => {
      const made = await insertKey(client, input);
      await writeAudit(client, by, { action: 'key.create', tenantId: input.tenantId, target: made, details: described(input) });
      return made;
    });
    return this.read(id);
  }

  override async list(tenantId: string | null): Promise<ApiKeyRow[]> {
    return (await this.prisma.apiKey.findMany({ where: { tenantId }, orderBy: { id: 'asc' }, ...withMember })).map(apiKeyRow);
  }

  override async find(tenantId: string | null, keyId: string): Promise<ApiKeyRow | null> {
    const found = await this.prisma.apiKey.findFirst({ where: { id: keyId, tenantId }, ...withMember });
    return found === null ? null : apiKeyRow(found);
  }

  override revoke(tenantId: string | null, keyId: string, by: Actor = systemActor): Promise<boolean> {
    return inTransaction(this.pool, async (client) => {
      // A key revoked twice keeps the time of the first.
      const { rows } = await client.query<{ revoked_at: Date | null; name: string }>(
        'SELECT revoked_at, name FROM api_keys WHERE id = $1 AND tenant_id IS NOT DISTINCT FROM $2 FOR UPDATE',
        [keyId, tenantId],
      );
      const [key] = rows;
      if (key === undefined) return false;
      if (key.revoked_at !== null) return true;
      await client.query('UPDATE api_keys SET revoked_at = clock_timestamp() WHERE id = $1', [keyId]);
      await writeAudit(client, by, { action: 'key.revoke', tenantId, target: keyId, details: { name: key.name } });
      return true;
    });
  }

  override async rotate(
    tenantId: string | null,
    keyId: string,
    input: { hash: string; expiresAt: Date | null; oldExpiresAt: Date },
    by: Actor = systemActor,
  ): Promise<ApiKeyRow | null> {
    const id = await inTransaction(this.pool, async (client) => {
      const { rows } = await client.query<StoredGrant>(
        `SELECT name, role, scopes, member_id FROM api_keys
         WHERE id = $1 AND tenant_id IS NOT DISTINCT FROM $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
         FOR UPDATE`,
        [keyId, tenantId],
      );
      const [old] = rows;
      if (old === undefined) return null;
      const { name, role, scopes, member_id: memberId } = old;
      const made = await insertKey(client, { tenantId, name, role, scopes, memberId, hash: input.hash, expiresAt: input.expiresAt });
      await client.query('UPDATE api_keys SET expires_at = least(expires_at, $2) WHERE id = $1', [keyId, input.oldExpiresAt]);
      const details = { successor: made, name, expiresAt: input.oldExpiresAt.toISOString() };
      await writeAudit(client, by, { action: 'key.rotate', tenantId, target: keyId, details });
      return made;
    });
    return id === null ? null : this.read(id);
  }

  override async authenticate(hash: string, now: Date): Promise<{ key: ApiKeyRow; tenant: TenantRow | null } | null> {
    const found = await this.prisma.apiKey.findUnique({
      where: { hash },
      include: { tenant: true, member: true },
      relationLoadStrategy: 'join',
    });
    if (found === null || found.revokedAt !== null || (found.expiresAt !== null && found.expiresAt <= now)) return null;
    return { key: apiKeyRow(found), tenant: found.tenant === null ? null : tenantRow(found.tenant, now) };
  }

  override async adoptEnvironmentKey(hash: string): Promise<'adopted' | 'known' | 'revoked'> {
    return inTransaction(this.pool, async (client) => {
      // Replicas that start together come one after the other.
      await client.query(`SELECT pg_advisory_xact_lock(hashtext('berth.environment-key'))`);
      const known = await client.query<{ alive: boolean }>(
        `SELECT revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) AS alive FROM api_keys WHERE hash = $1`,
        [hash],
      );
      const [row] = known.rows;
      if (row !== undefined) return row.alive ? 'known' : 'revoked';
      const replaced = await client.query<{ id: string }>(
        `UPDATE api_keys SET revoked_at = clock_timestamp() WHERE tenant_id IS NULL AND source = 'environment' AND revoked_at IS NULL RETURNING id`,
      );
      const input = { tenantId: null, name: 'admin', hash, expiresAt: null, role: 'admin', source: 'environment' } as const;
      const made = await insertKey(client, input);
      await writeAudit(client, systemActor, { action: 'key.create', tenantId: null, target: made, details: described(input) });
      for (const { id } of replaced.rows)
        await writeAudit(client, systemActor, { action: 'key.revoke', tenantId: null, target: id, details: { successor: made } });
      return 'adopted';
    });
  }

  private async read(id: string): Promise<ApiKeyRow> {
    return apiKeyRow(await this.prisma.apiKey.findUniqueOrThrow({ where: { id }, ...withMember }));
  }
}

interface StoredGrant {
  name: string;
  role: ApiKeyRow['role'];
  scopes: ApiKeyRow['scopes'];
  member_id: string | null;
}

async function insertKey(client: pg.PoolClient, input: ApiKeyInput): Promise<string> {
  const id = newId('key', Date.now(), randomBytes(idRandomBytes));
  const {
    tenantId,
    name,
    hash,
    expiresAt,
    role = tenantId === null ? 'admin' : 'submitter',
    scopes = [],
    memberId = null,
    source = 'api',
  } = input;
  // A member that is removed at this moment must not be given one more key.
  if (memberId !== null) {
    const { rowCount } = await client.query('SELECT FROM members WHERE id = $1 AND tenant_id = $2 AND removed_at IS NULL FOR SHARE', [
      memberId,
      tenantId,
    ]);
    if (rowCount === 0) {
      const message = 'names no member of this tenant; list them, or leave it out';
      throw new AppError('invalidRequest', `memberId: ${message}`, { errors: [{ field: 'memberId', message }] });
    }
  }
  await client.query(
    `INSERT INTO api_keys (id, tenant_id, name, hash, role, scopes, member_id, source, created_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp(), $9)`,
    [id, tenantId, name, hash, role, scopes, memberId, source, expiresAt],
  );
  return id;
}

/** A key for the audit log: everything but the key. */
function described({ name, role, scopes, memberId, expiresAt, source }: ApiKeyInput): Record<string, unknown> {
  return { name, role, scopes, memberId, source, expiresAt: expiresAt?.toISOString() ?? null };
}

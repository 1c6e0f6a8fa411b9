import { randomBytes } from 'node:crypto';
import { AppError, idRandomBytes, newId, type Role } from '@berth/core';
import type pg from 'pg';
import { inTransaction } from './pool.js';
import { type Actor, type MemberRow, MemberStore, systemActor } from './ports.js';
import { writeAudit } from './sql/audit.js';

const columns = `id, name, role, created_at AS "createdAt", removed_at AS "removedAt"`;
const uniqueViolation = '23505';

export class PostgresMemberStore extends MemberStore {
  constructor(private readonly pool: pg.Pool) {
    super();
  }

  override async create(tenantId: string, input: { name: string; role: Role }, by: Actor = systemActor): Promise<MemberRow> {
    const now = new Date();
    const id = newId('mem', now.getTime(), randomBytes(idRandomBytes));
    return inTransaction(this.pool, async (client) => {
      const { rows } = await client.query<MemberRow>(
        `INSERT INTO members (id, tenant_id, name, role, created_at) VALUES ($1, $2, $3, $4, $5) RETURNING ${columns}`,
        [id, tenantId, input.name, input.role, now],
      );
      await writeAudit(client, by, { action: 'member.create', tenantId, target: id, details: input });
      return rows[0] as MemberRow;
    }).catch((error: { code?: string }) => {
      if (error.code === uniqueViolation) throw new AppError('conflict', `there is a member named ${input.name} already`);
      throw error;
    });
  }

  override async list(tenantId: string): Promise<MemberRow[]> {
    const { rows } = await this.pool.query<MemberRow>(
      `SELECT ${columns} FROM members WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY id`,
      [tenantId],
    );
    return rows;
  }

  override async find(tenantId: string, memberId: string): Promise<MemberRow | null> {
    const { rows } = await this.pool.query<MemberRow>(
      `SELECT ${columns} FROM members WHERE id = $1 AND tenant_id = $2 AND removed_at IS NULL`,
      [memberId, tenantId],
    );
    return rows[0] ?? null;
  }

  override update(tenantId: string, memberId: string, role: Role, by: Actor = systemActor): Promise<MemberRow | null> {
    return inTransaction(this.pool, async (client) => {
      const { rows } = await client.query<MemberRow>(
        `UPDATE members SET role = $3 WHERE id = $1 AND tenant_id = $2 AND removed_at IS NULL RETURNING ${columns}`,
        [memberId, tenantId, role],
      );
      const [member] = rows;
      if (member === undefined) return null;
      await writeAudit(client, by, { action: 'member.update', tenantId, target: memberId, details: { name: member.name, role } });
      return member;
    });
  }

  override remove(tenantId: string, memberId: string, by: Actor = systemActor): Promise<boolean> {
    return inTransaction(this.pool, async (client) => {
      const removed = await client.query<{ name: string }>(
        'UPDATE members SET removed_at = clock_timestamp() WHERE id = $1 AND tenant_id = $2 AND removed_at IS NULL RETURNING name',
        [memberId, tenantId],
      );
      const [member] = removed.rows;
      if (member === undefined) return false;
      const revoked = await client.query<{ id: string }>(
        'UPDATE api_keys SET revoked_at = clock_timestamp() WHERE member_id = $1 AND revoked_at IS NULL RETURNING id',
        [memberId],
      );
      const details = { name: member.name, revokedKeys: revoked.rows.map(({ id }) => id) };
      await writeAudit(client, by, { action: 'member.remove', tenantId, target: memberId, details });
      return true;
    });
  }
}

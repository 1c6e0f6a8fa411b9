import type { AuditAction } from '@berth/core';
import type { Queryable } from '../pool.js';
import type { Actor } from '../ports.js';

/** What an entry says beside its time and its actor. `details` holds names and numbers, never a secret. */
export interface AuditNote {
  readonly action: AuditAction;
  /** null: it concerns the operator alone. */
  readonly tenantId: string | null;
  /** The id or the name of what was changed. */
  readonly target: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Adds an entry. In the transaction of the change, so that neither is ever there without the other. */
export async function writeAudit(client: Queryable, by: Actor, { action, tenantId, target, details = {} }: AuditNote): Promise<void> {
  await client.query({
    name: 'write-audit',
    text: `INSERT INTO audit_entries (tenant_id, actor_key_id, actor_name, actor_owner, request_id, action, target, details)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [tenantId, by.keyId, by.name, by.owner, by.requestId, action, target, JSON.stringify(details)],
  });
}

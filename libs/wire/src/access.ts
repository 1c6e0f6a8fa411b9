import { auditActions, roles, scopes } from '@berth/core';
import { z } from 'zod';
import { keyId, memberId, text, timestamp } from './primitives.js';

const role = z.enum(roles).describe('What it opens: reader, submitter, operator or admin, each all of the one before');
const scope = z.enum(scopes);
const personName = text(128).min(1);

/** Without a role: `submitter` for a tenant's key, `reader` for the operator's. */
export const createKeyRequest = z.strictObject({
  name: personName.describe('What it is for'),
  role: role.optional(),
  scopes: z.array(scope).min(1).max(scopes.length).optional().describe("Narrows it to these; all of its role's by default"),
  memberId: memberId.optional().describe("Whose it is: it opens no more than the member's role, and ends with the member"),
  expiresAt: timestamp.optional(),
});
/** The operator's keys have no members. */
export const createOperatorKeyRequest = createKeyRequest.omit({ memberId: true });

export const rotateKeyRequest = z.strictObject({
  overlapMs: z
    .int()
    .min(0)
    .max(30 * 86_400_000)
    .default(3_600_000)
    .describe('For how long the old key goes on beside the new one'),
});

export const apiKey = z.object({
  id: keyId,
  name: z.string(),
  role,
  scopes: z.array(scope).describe('What it opens now'),
  memberId: memberId.nullable(),
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  revokedAt: timestamp.nullable(),
});
/** The secret is in this one answer and nowhere else; only its hash is stored. */
export const createdKey = apiKey.extend({ secret: z.string() });
export const keyList = z.object({ items: z.array(apiKey) });

export const createMemberRequest = z.strictObject({ name: personName, role });
export const updateMemberRequest = z.strictObject({ role });
export const member = z.object({ id: memberId, name: z.string(), role, createdAt: timestamp });
export type Member = z.infer<typeof member>;
export const memberList = z.object({ items: z.array(member) });

const entryId = z.string().regex(/^\d{1,18}$/, 'must be the nextCursor of an earlier answer');

/** Who changed what. Entries are never changed and never deleted. */
export const auditEntry = z.object({
  id: entryId,
  at: timestamp,
  tenantId: z.string().nullable().describe('null: it concerns the operator alone'),
  actor: z.object({
    owner: z.enum(['tenant', 'operator', 'system']),
    keyId: z.string().nullable().describe("null: the service itself, a machine that joined, or, to a tenant, a key of the operator's"),
    name: z.string(),
  }),
  requestId: z.string().nullable(),
  action: z.enum(auditActions),
  target: z.string(),
  details: z.record(z.string(), z.unknown()),
});
export type AuditEntry = z.infer<typeof auditEntry>;
export const auditList = z.object({ items: z.array(auditEntry), nextCursor: z.string().nullable() });
export const auditQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: entryId.optional(),
});

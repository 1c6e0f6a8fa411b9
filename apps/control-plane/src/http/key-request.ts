import type { createKeyRequest } from '@berth/wire';
import type { z } from 'zod';
import type { KeyRequest } from '../access/create-key.js';

/** A request for a key of a tenant, or of the operator (null), with what it leaves out filled in: the least that is of use. */
export function keyRequest(tenantId: string | null, request: z.infer<typeof createKeyRequest>): KeyRequest {
  return {
    tenantId,
    name: request.name,
    role: request.role ?? (tenantId === null ? 'reader' : 'submitter'),
    scopes: request.scopes ?? [],
    memberId: request.memberId ?? null,
    expiresAt: request.expiresAt === undefined ? null : new Date(request.expiresAt),
  };
}

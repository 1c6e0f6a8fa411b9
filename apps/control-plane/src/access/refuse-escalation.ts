import { AppError, grantedScopes, type KeyGrant } from '@berth/core';
import type { Caller } from '../http/caller.js';

/**
 * Refuses, as `forbidden`, to give away more than the asker has: a key of the same owner that opens what the asker's does not, or that lasts longer.
 * Keys that the operator gives to tenants are of another owner, and bounded by the route's own scope alone.
 */
export function refuseEscalation(caller: Caller, tenantId: string | null, grant: KeyGrant, expiresAt: Date | null): void {
  if (caller.key.tenantId !== tenantId) return;
  const beyond = grantedScopes(tenantId === null ? 'operator' : 'tenant', grant).find((scope) => !caller.scopes.includes(scope));
  if (beyond !== undefined)
    throw new AppError(
      'forbidden',
      `this key does not open ${beyond} itself, so it cannot give it; narrow scopes, or use a key that does`,
      {
        scope: beyond,
      },
    );
  const { expiresAt: ownEnd } = caller.key;
  if (ownEnd !== null && (expiresAt === null || expiresAt > ownEnd))
    throw new AppError('forbidden', `this key ends at ${ownEnd.toISOString()}: what it makes must have an expiresAt no later than that`);
}

import type { RegistryAction, Scope } from '@berth/core';
import { type RepositoryName, tenantOf } from '../names.js';

/** Who asks: a tenant by its API key, Berth itself by a token that names repositories or a tenant and what may be done there, or the operator by the admin key. */
export type Caller =
  | { readonly kind: 'tenant'; readonly tenant: string; readonly scopes: readonly Scope[] }
  | {
      readonly kind: 'token';
      readonly repositories: readonly string[];
      readonly tenant: string | null;
      readonly actions: readonly Action[];
    }
  | { readonly kind: 'admin'; readonly scopes: readonly Scope[] };

export type Action = RegistryAction;

/**
 * Whether a caller may act on a repository. `unknown`: to be answered exactly as a repository that does not exist, whether it does or not (I12).
 * `denied`: the caller may know of the repository, but not do this. Depends on names alone, never on what is stored.
 */
export function permission(caller: Caller, action: Action, repository: RepositoryName): 'allowed' | 'unknown' | 'denied' {
  switch (caller.kind) {
    case 'tenant':
      if (tenantOf(repository) !== caller.tenant) return 'unknown';
      return caller.scopes.includes(action === 'pull' ? 'images:read' : 'images:write') ? 'allowed' : 'denied';
    case 'token':
      if (!caller.repositories.includes(repository) && tenantOf(repository) !== caller.tenant) return 'unknown';
      return caller.actions.includes(action) ? 'allowed' : 'denied';
    case 'admin':
      return action === 'pull' && caller.scopes.includes('images:read') ? 'allowed' : 'denied';
  }
}

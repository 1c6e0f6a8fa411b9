import { type RepositoryName, tenantOf } from '../names.js';

/** Who asks: a tenant by its API key, a node by a pull token that names repositories, or the operator by the admin key. */
export type Caller =
  | { readonly kind: 'tenant'; readonly tenant: string }
  | { readonly kind: 'token'; readonly repositories: readonly string[] }
  | { readonly kind: 'admin' };

export type Action = 'pull' | 'push' | 'delete';

/**
 * Whether a caller may act on a repository. `unknown`: to be answered exactly as a repository that does not exist, whether it does or not (I12).
 * `denied`: the caller may know of the repository, but not do this. Depends on names alone, never on what is stored.
 */
export function permission(caller: Caller, action: Action, repository: RepositoryName): 'allowed' | 'unknown' | 'denied' {
  switch (caller.kind) {
    case 'tenant':
      return tenantOf(repository) === caller.tenant ? 'allowed' : 'unknown';
    case 'token':
      if (!caller.repositories.includes(repository)) return 'unknown';
      return action === 'pull' ? 'allowed' : 'denied';
    case 'admin':
      return action === 'pull' ? 'allowed' : 'denied';
  }
}

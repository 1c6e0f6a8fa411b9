/*
 * What keys open. Every route asks for one scope; a role is a set of scopes, which a key may narrow and never widen. A key belongs to a tenant or to
 * the operator, and a scope of one opens nothing of the other.
 */

/** Each names what it is about and whether it reads or changes it. */
export const scopes = [
  'runs:read',
  'runs:write',
  'images:read',
  'images:write',
  'quota:read',
  'secrets:read',
  'secrets:write',
  'keys:read',
  'keys:write',
  'audit:read',
  'tenants:read',
  'tenants:write',
  'nodes:read',
  'nodes:write',
] as const;
export type Scope = (typeof scopes)[number];

/** From the least to the most. */
export const roles = ['reader', 'submitter', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

/** Whose key it is. */
export type KeyOwner = 'tenant' | 'operator';

const tenantReader: readonly Scope[] = ['runs:read', 'images:read', 'quota:read'];
const tenantSubmitter: readonly Scope[] = [...tenantReader, 'runs:write', 'images:write'];
const tenantOperator: readonly Scope[] = [...tenantSubmitter, 'secrets:read', 'secrets:write', 'keys:read', 'audit:read'];
const fleetReader: readonly Scope[] = ['tenants:read', 'nodes:read', 'images:read'];
const fleetOperator: readonly Scope[] = [...fleetReader, 'nodes:write', 'keys:read', 'audit:read'];

const scopesByRole: Readonly<Record<KeyOwner, Readonly<Record<Role, readonly Scope[]>>>> = {
  tenant: {
    reader: tenantReader,
    submitter: tenantSubmitter,
    operator: tenantOperator,
    admin: [...tenantOperator, 'keys:write'],
  },
  operator: {
    reader: fleetReader,
    // The operator has no runs to submit.
    submitter: fleetReader,
    operator: fleetOperator,
    admin: [...fleetOperator, 'tenants:write', 'keys:write', 'secrets:write'],
  },
};

/** What a role opens, before a key narrows it. */
export function roleScopes(owner: KeyOwner, role: Role): readonly Scope[] {
  return scopesByRole[owner][role];
}

/** What a key is made with. */
export interface KeyGrant {
  readonly role: Role;
  /** Empty: all of the role's. */
  readonly scopes: readonly Scope[];
  /** The role of the member whose key it is; null where it is nobody's. A key opens no more than its member may. */
  readonly memberRole: Role | null;
}

/** The scopes that a key opens, in the order of `scopes`. */
export function grantedScopes(owner: KeyOwner, { role, scopes: narrowed, memberRole }: KeyGrant): Scope[] {
  const ofRole = roleScopes(owner, role);
  const ofMember = memberRole === null ? ofRole : roleScopes(owner, memberRole);
  return scopes.filter(
    (scope) => ofRole.includes(scope) && ofMember.includes(scope) && (narrowed.length === 0 || narrowed.includes(scope)),
  );
}

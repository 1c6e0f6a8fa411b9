import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grantedScopes, type KeyOwner, roleScopes, roles, scopes } from './access.js';

const owners: readonly KeyOwner[] = ['tenant', 'operator'];
const grant = fc.record({
  owner: fc.constantFrom(...owners),
  role: fc.constantFrom(...roles),
  memberRole: fc.option(fc.constantFrom(...roles)),
  scopes: fc.uniqueArray(fc.constantFrom(...scopes)),
});

describe('a key', () => {
  it('opens no more than its role, its member and its own scopes allow', () => {
    fc.assert(
      fc.property(grant, ({ owner, ...key }) => {
        for (const scope of grantedScopes(owner, key)) {
          expect(roleScopes(owner, key.role)).toContain(scope);
          if (key.memberRole !== null) expect(roleScopes(owner, key.memberRole)).toContain(scope);
          if (key.scopes.length > 0) expect(key.scopes).toContain(scope);
        }
      }),
    );
  });

  it('opens all of its role where nothing narrows it', () => {
    for (const owner of owners)
      for (const role of roles)
        expect(new Set(grantedScopes(owner, { role, scopes: [], memberRole: null }))).toEqual(new Set(roleScopes(owner, role)));
  });
});

describe('a role', () => {
  it('opens what the lesser roles open', () => {
    for (const owner of owners)
      roles.slice(1).forEach((role, i) => {
        expect(roleScopes(owner, role)).toEqual(expect.arrayContaining([...roleScopes(owner, roles[i] ?? 'reader')]));
      });
  });

  it('of a reader changes nothing', () => {
    for (const owner of owners) expect(roleScopes(owner, 'reader').filter((scope) => scope.endsWith(':write'))).toEqual([]);
  });
});

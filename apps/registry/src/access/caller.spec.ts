import { describe, expect, it } from 'vitest';
import { isValidRepositoryName, type RepositoryName } from '../names.js';
import { type Caller, permission } from './caller.js';

const repository = (text: string): RepositoryName => {
  if (!isValidRepositoryName(text)) throw new Error(text);
  return text;
};
const acme: Caller = { kind: 'tenant', tenant: 'acme', scopes: ['images:read', 'images:write'] };
const reader: Caller = { kind: 'tenant', tenant: 'acme', scopes: ['images:read'] };
const blind: Caller = { kind: 'tenant', tenant: 'acme', scopes: ['runs:write'] };
const token: Caller = { kind: 'token', repositories: ['acme/web'], tenant: null, actions: ['pull'] };
const steward: Caller = { kind: 'token', repositories: [], tenant: 'acme', actions: ['pull', 'delete'] };
const admin: Caller = { kind: 'admin', scopes: ['images:read'] };

describe('permission', () => {
  it.each([
    [acme, 'pull', 'acme/web', 'allowed'],
    [acme, 'push', 'acme/web/api', 'allowed'],
    [acme, 'delete', 'acme/web', 'allowed'],
    [acme, 'pull', 'acmex/web', 'unknown'],
    [acme, 'push', 'other/acme', 'unknown'],
    [reader, 'pull', 'acme/web', 'allowed'],
    [reader, 'push', 'acme/web', 'denied'],
    [reader, 'delete', 'acme/web', 'denied'],
    [reader, 'push', 'other/web', 'unknown'],
    [blind, 'pull', 'acme/web', 'denied'],
    [token, 'pull', 'acme/web', 'allowed'],
    [token, 'push', 'acme/web', 'denied'],
    [token, 'delete', 'acme/web', 'denied'],
    [token, 'pull', 'acme/web2', 'unknown'],
    [token, 'pull', 'acme/web/api', 'unknown'],
    [steward, 'pull', 'acme/any/name', 'allowed'],
    [steward, 'delete', 'acme/web', 'allowed'],
    [steward, 'push', 'acme/web', 'denied'],
    [steward, 'pull', 'acmex/web', 'unknown'],
    [admin, 'pull', 'acme/web', 'allowed'],
    [admin, 'push', 'acme/web', 'denied'],
    [admin, 'delete', 'acme/web', 'denied'],
  ] as const)('%j may %s %s: %s', (caller, action, name, verdict) => {
    expect(permission(caller, action, repository(name))).toBe(verdict);
  });
});

import { randomBytes } from 'node:crypto';
import { AppError, hashSecret, newSecret, type Role, roleScopes, type Scope, secretRandomBytes } from '@berth/core';
import { type Actor, type ApiKeyRow, ApiKeyStore, MemberStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller.js';
import { refuseEscalation } from './refuse-escalation.js';

export interface KeyRequest {
  /** null: the operator's. */
  readonly tenantId: string | null;
  readonly name: string;
  readonly role: Role;
  readonly scopes: readonly Scope[];
  readonly memberId: string | null;
  readonly expiresAt: Date | null;
}

/** A key and its secret, which is here and nowhere else. */
export interface NewKey {
  readonly key: ApiKeyRow;
  readonly secret: string;
}

/** Makes an API key. The secret is in the answer alone; the store gets its hash. */
@Injectable()
export class CreateKey {
  constructor(
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    @Inject(MemberStore) private readonly members: MemberStore,
  ) {}

  /** Refuses scopes that the role does not have, and what the asker's own key does not open. */
  async execute(request: KeyRequest, caller: Caller, by: Actor): Promise<NewKey> {
    const { tenantId, role, scopes, expiresAt, memberId } = request;
    const owner = tenantId === null ? 'operator' : 'tenant';
    if (tenantId === null && role === 'submitter') throw invalid('role', 'the operator submits no runs; choose reader, operator or admin');
    const foreign = scopes.find((scope) => !roleScopes(owner, role).includes(scope));
    if (foreign !== undefined)
      throw invalid('scopes', `a ${role} does not open ${foreign}; it opens ${roleScopes(owner, role).join(', ')}`);
    if (expiresAt !== null && expiresAt.getTime() <= Date.now()) throw invalid('expiresAt', 'must be in the future');
    const memberRole = memberId === null || tenantId === null ? null : ((await this.members.find(tenantId, memberId))?.role ?? null);
    refuseEscalation(caller, tenantId, { role, scopes, memberRole }, expiresAt);
    const secret = newSecret('berth', randomBytes(secretRandomBytes));
    return { key: await this.apiKeys.create({ ...request, hash: hashSecret(secret) }, by), secret };
  }
}

function invalid(field: string, message: string): AppError {
  return new AppError('invalidRequest', `${field}: ${message}`, { errors: [{ field, message }] });
}

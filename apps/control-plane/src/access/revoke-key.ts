import { type Actor, ApiKeyStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { KnownKeys } from '../http/known-keys.js';

/** Revokes a key, on every replica and in the streams that it opened. */
@Injectable()
export class RevokeKey {
  constructor(
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    private readonly knownKeys: KnownKeys,
  ) {}

  /** False when the owner, a tenant or (null) the operator, has no such key. */
  async execute(tenantId: string | null, keyId: string, by: Actor): Promise<boolean> {
    const isThere = await this.apiKeys.revoke(tenantId, keyId, by);
    if (isThere) this.knownKeys.changed(tenantId);
    return isThere;
  }
}

import { randomBytes } from 'node:crypto';
import { AppError, hashSecret, newSecret, secretRandomBytes } from '@berth/core';
import { type Actor, ApiKeyStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller.js';
import { KnownKeys } from '../http/known-keys.js';
import type { NewKey } from './create-key.js';
import { refuseEscalation } from './refuse-escalation.js';

/** Replaces a key by one that opens the same, while the old one goes on for a while: whoever uses it has time to change over. */
@Injectable()
export class RotateKey {
  constructor(
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    private readonly knownKeys: KnownKeys,
  ) {}

  /** Null when the owner has no such key, or it works no more. A key that expires is given the same span of life again. */
  async execute(tenantId: string | null, keyId: string, overlapMs: number, caller: Caller, by: Actor): Promise<NewKey | null> {
    const old = await this.apiKeys.find(tenantId, keyId);
    if (old === null) return null;
    if (old.source === 'environment')
      throw new AppError('conflict', 'this key comes from BERTH_ADMIN_KEY: set another there and restart the control plane');
    const now = Date.now();
    const expiresAt = old.expiresAt === null ? null : new Date(now + (old.expiresAt.getTime() - old.createdAt.getTime()));
    const bounded = caller.key.id === old.id && expiresAt !== null ? old.expiresAt : expiresAt;
    refuseEscalation(caller, tenantId, old, bounded);
    const secret = newSecret('berth', randomBytes(secretRandomBytes));
    const input = { hash: hashSecret(secret), expiresAt: bounded, oldExpiresAt: new Date(now + overlapMs) };
    const key = await this.apiKeys.rotate(tenantId, keyId, input, by);
    this.knownKeys.changed(tenantId);
    return key === null ? null : { key, secret };
  }
}

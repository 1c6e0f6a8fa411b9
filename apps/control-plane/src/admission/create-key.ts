import { randomBytes } from 'node:crypto';
import { AppError, hashSecret, newSecret, secretRandomBytes } from '@berth/core';
import { type ApiKeyRow, ApiKeyStore, TenantStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';

/** Makes an API key for a tenant. The secret is in the answer alone; the store gets its hash. */
@Injectable()
export class CreateKey {
  constructor(
    @Inject(TenantStore) private readonly tenants: TenantStore,
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
  ) {}

  /** Null when there is no such tenant. */
  async execute(tenantId: string, name: string, expiresAt: Date | null): Promise<{ key: ApiKeyRow; secret: string } | null> {
    if (expiresAt !== null && expiresAt.getTime() <= Date.now()) {
      throw new AppError('invalidRequest', 'expiresAt: must be in the future', {
        errors: [{ field: 'expiresAt', message: 'must be in the future' }],
      });
    }
    if ((await this.tenants.find(tenantId)) === null) return null;
    const secret = newSecret('berth', randomBytes(secretRandomBytes));
    return { key: await this.apiKeys.create({ tenantId, name, hash: hashSecret(secret), expiresAt }), secret };
  }
}

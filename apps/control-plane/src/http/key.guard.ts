import { AppError, hashSecret, isSecret } from '@berth/core';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { API_DESCRIPTION, type ApiDescription } from './api.js';
import { bearer } from './bearer.js';
import type { AuthenticatedRequest, Caller } from './caller.js';
import { KnownKeys } from './known-keys.js';

const unauthorized = () =>
  new AppError('unauthorized', 'send a key that is known, not expired and not revoked as "Authorization: Bearer berth_..."');

/** Lets a request through when its key is of the kind that the route's `Api` asks for, and notes whose key it is. */
@Injectable()
export class KeyGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly knownKeys: KnownKeys,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { key } = this.reflector.get<ApiDescription>(API_DESCRIPTION, context.getHandler());
    if (key === 'none') return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const caller = await this.authenticate(request.headers.authorization);
    if (key !== 'any' && caller.kind !== key) {
      throw new AppError('forbidden', key === 'admin' ? 'this route takes the admin key' : "this route takes a tenant's key");
    }
    request.caller = caller;
    return true;
  }

  private async authenticate(authorization: string | undefined): Promise<Caller> {
    const secret = bearer(authorization);
    if (secret === null || !isSecret('berth', secret)) throw unauthorized();
    const keyHash = hashSecret(secret);
    const found = await this.knownKeys.authenticate(keyHash);
    if (found === null) throw unauthorized();
    if (found.key.tenantId === null) return { kind: 'admin', keyHash, key: found.key };
    if (found.tenant === null) throw unauthorized();
    return { kind: 'tenant', keyHash, key: found.key, tenant: found.tenant };
  }
}

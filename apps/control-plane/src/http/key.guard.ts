import { AppError, grantedScopes, hashSecret, isSecret } from '@berth/core';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { API_DESCRIPTION, type ApiDescription } from './api.js';
import { bearer } from './bearer.js';
import type { AuthenticatedRequest, Caller } from './caller.js';
import { KnownKeys } from './known-keys.js';

const unauthorized = () =>
  new AppError('unauthorized', 'send a key that is known, not expired and not revoked as "Authorization: Bearer berth_..."');

/** Lets a request through when its key is of the kind that the route's `Api` asks for and opens its scope, and notes whose key it is. */
@Injectable()
export class KeyGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly knownKeys: KnownKeys,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { key, scope } = this.reflector.get<ApiDescription>(API_DESCRIPTION, context.getHandler());
    if (key === 'none') return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const caller = await this.authenticate(request.headers.authorization);
    if (key !== 'any' && caller.kind !== key) {
      throw new AppError('forbidden', key === 'admin' ? 'this route takes the admin key' : "this route takes a tenant's key");
    }
    if (scope !== undefined && !caller.scopes.includes(scope)) {
      throw new AppError('forbidden', `this key does not open ${scope}; use one whose role and scopes do`, { scope });
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
    const { key, tenant } = found;
    if (key.tenantId === null) return { kind: 'admin', keyHash, key, scopes: grantedScopes('operator', key) };
    if (tenant === null) throw unauthorized();
    return { kind: 'tenant', keyHash, key, scopes: grantedScopes('tenant', key), tenant };
  }
}

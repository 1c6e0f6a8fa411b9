import type { Scope } from '@berth/core';
import type { Actor, ApiKeyRow, TenantRow } from '@berth/store';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

/** Who a request's key belongs to. */
export type Caller = { readonly keyHash: string; readonly key: ApiKeyRow; readonly scopes: readonly Scope[] } & (
  | { readonly kind: 'tenant'; readonly tenant: TenantRow }
  | { readonly kind: 'admin' }
);

export interface AuthenticatedRequest extends FastifyRequest {
  /** Set by the key guard on every route that asks for a key. */
  caller?: Caller;
}

/** The tenant that asks. Only on routes whose `Api` says `key: 'tenant'`; elsewhere it is a bug. */
export const CallingTenant = createParamDecorator((_: unknown, context: ExecutionContext): TenantRow => {
  const { caller } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (caller?.kind !== 'tenant') throw new Error('the route takes a tenant but does not ask for its key');
  return caller.tenant;
});

/** The sha256 of the key that asks, with which an open stream asks again whether the key still holds. */
export const CallingKeyHash = createParamDecorator((_: unknown, context: ExecutionContext): string => {
  return callerOf(context).keyHash;
});

/** Who asks, as the key guard found it. */
export const Asker = createParamDecorator((_: unknown, context: ExecutionContext): Caller => callerOf(context));

/** Who asks, as the audit log names it. */
export const CallingActor = createParamDecorator((_: unknown, context: ExecutionContext): Actor => {
  const { kind, key } = callerOf(context);
  const { id } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  return { keyId: key.id, name: key.name, owner: kind === 'tenant' ? 'tenant' : 'operator', requestId: id };
});

function callerOf(context: ExecutionContext): Caller {
  const { caller } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (caller === undefined) throw new Error('the route takes a key but does not ask for one');
  return caller;
}

import type { AuditAction, Scope } from '@berth/core';
import type { ProblemCode } from '@berth/wire';
import { applyDecorators, HttpCode, SetMetadata } from '@nestjs/common';
import type { z } from 'zod';

/** The metadata key of a route's `ApiDescription`. */
export const API_DESCRIPTION = 'berth:api';

/** Whose key a route asks for. `any`: a tenant's or the operator's. `none`: no API key; the route may ask for something else. */
export type KeyKind = 'tenant' | 'admin' | 'any' | 'none';

/** What a route promises: read by the key guard and by the OpenAPI document, so that neither can differ from the other. */
export type ApiDescription = RouteDescription & (ScopedRoute | UnscopedRoute);

interface ScopedRoute {
  readonly key: 'tenant' | 'admin';
  /** What the key must open. */
  readonly scope: Scope;
}
interface UnscopedRoute {
  readonly key: 'any' | 'none';
  readonly scope?: undefined;
}

interface RouteDescription {
  readonly summary: string;
  readonly status: number;
  /** The body of the good answer, as JSON; absent for 204. */
  readonly answer?: z.ZodType;
  /** Other good answers by status, and when they come. */
  readonly others?: Readonly<Record<number, { readonly when: string; readonly answer: z.ZodType }>>;
  /** The good answer's body by media type, where it is not JSON alone; in place of `answer`. */
  readonly answers?: Readonly<Record<string, z.ZodType>>;
  /** Codes of the refusals that this route adds to those every route has. */
  readonly problems?: readonly ProblemCode[];
  /** Request headers that matter here, by name. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What the audit log says of it; for routes that change something and whose change no other history has. */
  readonly audited?: AuditAction;
}

/** Describes a route and sets the status of its good answer. A route without it is refused at start-up. */
export const Api = (description: ApiDescription): MethodDecorator =>
  applyDecorators(SetMetadata(API_DESCRIPTION, description), HttpCode(description.status));

import { type ProblemCode, problem, problemCodes } from '@berth/wire';
import { RequestMethod, type Type } from '@nestjs/common';
import type { z } from 'zod';
import { API_DESCRIPTION, type ApiDescription } from './api.js';
import { componentSchemas, schemaOf } from './open-api-schemas.js';
import { IdPipe } from './validation.js';

type Json = Record<string, unknown>;

/** Problems that any route may answer; those with a key add `unauthorized` and `forbidden`. */
const commonProblems: readonly ProblemCode[] = ['invalidRequest', 'methodNotAllowed', 'internal', 'unavailable'];

/** The kinds of parameters as Nest's route metadata numbers them (`RouteParamtypes`). */
const bodyParameter = 3;
const queryParameter = 4;
const pathParameter = 5;

interface ParameterMetadata {
  readonly data?: unknown;
  readonly pipes: readonly unknown[];
  readonly schema?: z.ZodType;
}

/** One route of a controller, as its decorators say. The path is as Nest has it, with `:name`. */
export interface DescribedRoute {
  readonly method: string;
  readonly path: string;
  readonly operationId: string;
  readonly description: ApiDescription;
  readonly body?: z.ZodType;
  readonly query?: z.ZodType;
  readonly ids: readonly { readonly name: string; readonly prefix: string }[];
}

/**
 * The routes of some controllers. The schemas are the very ones that `RequestValidationPipe` checks against, read from the same metadata. Throws when a
 * route has no `Api`, so that none is served undescribed or unguarded.
 */
export function describeRoutes(controllers: readonly Type[]): DescribedRoute[] {
  return controllers.flatMap((controller) => {
    const prefix = Reflect.getMetadata('path', controller) as string;
    const prototype = controller.prototype as Record<string, unknown>;
    return Object.getOwnPropertyNames(prototype).flatMap((name) => {
      const handler = prototype[name];
      const path = typeof handler === 'function' ? (Reflect.getMetadata('path', handler) as string | undefined) : undefined;
      if (name === 'constructor' || typeof handler !== 'function' || path === undefined) return [];
      const description = Reflect.getMetadata(API_DESCRIPTION, handler) as ApiDescription | undefined;
      if (description === undefined) throw new Error(`${controller.name}.${name} has no @Api`);
      return [describeRoute(controller, name, handler, `${prefix}/${path}`, description)];
    });
  });
}

function describeRoute(controller: Type, name: string, handler: object, path: string, description: ApiDescription): DescribedRoute {
  const parameters = Object.entries(
    (Reflect.getMetadata('__routeArguments__', controller, name) ?? {}) as Record<string, ParameterMetadata>,
  ).map(([kind, metadata]) => ({ kind: Number(kind.split(':')[0]), ...metadata }));
  const schema = (kind: number) => parameters.find((parameter) => parameter.kind === kind)?.schema;
  const body = schema(bodyParameter);
  const query = schema(queryParameter);
  return {
    method: RequestMethod[Reflect.getMetadata('method', handler) as number] as string,
    path: `/${path.split('/').filter(Boolean).join('/')}`,
    operationId: `${controller.name.replace(/Controller$/, '')}.${name}`,
    description,
    ...(body === undefined ? {} : { body }),
    ...(query === undefined ? {} : { query }),
    ids: parameters
      .filter(({ kind }) => kind === pathParameter)
      .flatMap(({ data, pipes }) => pipes.flatMap((pipe) => (pipe instanceof IdPipe ? [{ name: String(data), prefix: pipe.prefix }] : [])))
      .sort((a, b) => path.indexOf(`:${a.name}`) - path.indexOf(`:${b.name}`)),
  };
}

/** The OpenAPI 3.1 document of some controllers' routes. */
export function openApiDocument(controllers: readonly Type[]): Json {
  const paths: Record<string, Json> = {};
  for (const route of describeRoutes(controllers)) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Berth', version: '1', description: 'Runs containers for many tenants on many machines.' },
    paths,
    components: {
      schemas: componentSchemas(),
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: "A tenant's key, or the admin key under /v1/admin" } },
    },
  };
}

function operation({ method, operationId, description, body, query, ids }: DescribedRoute): Json {
  const { summary, key, scope, status, answer, others = {}, headers = {} } = description;
  const { answers = answer === undefined ? {} : { 'application/json': answer } } = description;
  const bodies = Object.entries(answers).map(([type, schema]) => [type, { schema: schemaOf(schema) }]);
  const content = bodies.length === 0 ? {} : { content: Object.fromEntries(bodies) };
  return {
    operationId,
    summary,
    tags: [key === 'admin' ? 'operator' : key === 'none' ? 'open' : 'tenant'],
    security: key === 'none' ? [] : [{ key: [] }],
    ...(scope === undefined ? {} : { 'x-berth-scope': scope }),
    parameters: [
      ...ids.map(({ name, prefix }) => ({
        name,
        in: 'path',
        required: true,
        schema: { type: 'string', pattern: `^${prefix}_[0-9a-hjkmnp-tv-z]{26}$` },
      })),
      ...queryParameters(query),
      ...Object.entries(headers).map(([name, text]) => ({
        name,
        in: 'header',
        required: false,
        description: text,
        schema: { type: 'string' },
      })),
    ],
    ...(body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body) } } } }),
    responses: { [status]: { description: summary, ...content }, ...otherAnswers(others), ...problemResponses(method, description) },
  };
}

function otherAnswers(others: NonNullable<ApiDescription['others']>): Json {
  return Object.fromEntries(
    Object.entries(others).map(([status, { when, answer }]) => [
      status,
      { description: when, content: { 'application/json': { schema: schemaOf(answer) } } },
    ]),
  );
}

function queryParameters(query: z.ZodType | undefined): Json[] {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(query) as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', required: required.includes(name), schema }));
}

/** The refusals by status, each naming its codes. */
function problemResponses(method: string, { key, problems = [] }: ApiDescription): Json {
  const keyed: ProblemCode[] = key === 'none' ? [] : key === 'any' ? ['unauthorized'] : ['unauthorized', 'forbidden'];
  const bodied: ProblemCode[] = method === 'POST' || method === 'PATCH' ? ['payloadTooLarge', 'unsupportedMediaType'] : [];
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of new Set([...problems, ...keyed, ...bodied, ...commonProblems])) {
    const { status } = problemCodes[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      { description: codes.join(', '), content: { 'application/problem+json': { schema: schemaOf(problem) } } },
    ]),
  );
}

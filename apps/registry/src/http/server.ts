import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import type { Authenticator } from '../access/authenticator.js';
import { type Action, type Caller, permission } from '../access/caller.js';
import { isMissing, isOutOfSpace, RegistryError } from '../errors.js';
import type { RegistryMetrics } from '../metrics.js';
import { deleteBlob, readBlob } from './blobs.js';
import type { Exchange, Stores } from './exchange.js';
import { listImages, listReferrers, listRepositories, listTags } from './listings.js';
import { deleteManifest, readManifest, repositoryUnknown, writeManifest } from './manifests.js';
import { parseRoute, parseShape, type Route, type RouteKind, type Shape } from './route.js';
import { appendUpload, beginUpload, cancelUpload, finishUpload, uploadStatus } from './uploads.js';

const maxDrainedBytes = 64 * 1024 * 1024;

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;
type Method = (typeof methods)[number];

/** Which methods each kind of path has, and what a caller must be allowed to do there. */
const actions: Readonly<Record<RouteKind, Partial<Record<Method, Action>>>> = {
  base: { GET: 'pull', HEAD: 'pull' },
  catalog: { GET: 'pull' },
  images: { GET: 'pull' },
  blob: { GET: 'pull', HEAD: 'pull', DELETE: 'delete' },
  uploads: { POST: 'push' },
  upload: { GET: 'push', PATCH: 'push', PUT: 'push', DELETE: 'push' },
  manifest: { GET: 'pull', HEAD: 'pull', PUT: 'push', DELETE: 'delete' },
  tags: { GET: 'pull' },
  referrers: { GET: 'pull' },
};

export interface ServerParts {
  readonly stores: Stores;
  readonly authenticator: Authenticator;
  readonly metrics: RegistryMetrics;
  readonly logger: FastifyBaseLogger;
  readonly idleTimeoutMs: number;
  /** null: plain HTTP. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | null;
}

/** The distribution API. Each request is authenticated, then its name is judged, and only then looks anything at what is stored. */
export function buildServer(parts: ServerParts): FastifyInstance {
  const server: FastifyInstance = Fastify({
    https: parts.tls,
    loggerInstance: parts.logger,
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    connectionTimeout: parts.idleTimeoutMs,
    // A large push takes as long as it takes; the idle timeout catches those that stall.
    requestTimeout: 0,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 4096 },
    frameworkErrors: (error, request, reply) => refuse(request, reply, error),
  });
  // Handlers read bodies as they stream in; nothing may collect them in memory first.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _body, done) => done(null));
  server.setErrorHandler((error, request, reply) => refuse(request, reply, error));
  server.setNotFoundHandler(async (_request, reply) => {
    const error = new RegistryError('UNSUPPORTED', 'there is no such endpoint', { status: 404 });
    return reply.code(error.status).send(error.body());
  });
  const handler = (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => answer(parts, request, reply);
  for (const url of ['/v2', '/v2/*']) server.route({ method: [...methods], url, handler });
  observe(server, parts.metrics);
  return server;
}

async function answer(parts: ServerParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  reply.header('docker-distribution-api-version', 'registry/2.0');
  const caller = await parts.authenticator.identify(request.headers.authorization);
  // Taken as it came: a URL parser would resolve dots before the grammar could refuse them.
  const [path = '', query = ''] = (request.raw.url ?? '').split(/\?(.*)/s);
  const shape = parseShape(path);
  request.endpoint = shape.kind;
  const action = actions[shape.kind][request.method as Method];
  if (action === undefined) {
    const allow = Object.keys(actions[shape.kind]).join(', ');
    throw new RegistryError('UNSUPPORTED', `${request.method} is not possible here`, { headers: { allow } });
  }
  authorize(caller, action, shape);
  const reconfirm = async (): Promise<void> => authorize(await parts.authenticator.identify(request.headers.authorization), action, shape);
  return dispatch(
    { stores: parts.stores, metrics: parts.metrics, caller, request, reply, query: new URLSearchParams(query), reconfirm },
    parseRoute(shape),
  );
}

function authorize(caller: Caller, action: Action, { kind, repository }: Shape): void {
  if (repository === null) {
    if (kind !== 'base' && caller.kind !== 'token' && !caller.scopes.includes('images:read'))
      throw new RegistryError('DENIED', 'this key does not open images:read');
    return;
  }
  const verdict = permission(caller, action, repository);
  if (verdict === 'unknown') throw repositoryUnknown();
  if (verdict === 'denied') throw new RegistryError('DENIED', 'this key does not open that; it may be one that only pulls');
}

async function dispatch(exchange: Exchange, route: Route): Promise<FastifyReply> {
  const method = exchange.request.method as Method;
  switch (route.kind) {
    case 'base':
      return exchange.reply.send({});
    case 'catalog':
      return listRepositories(exchange);
    case 'images':
      return listImages(exchange);
    case 'tags':
      return listTags(exchange, route.repository);
    case 'referrers':
      return listReferrers(exchange, route.repository, route.digest);
    case 'blob':
      return (method === 'DELETE' ? deleteBlob : readBlob)(exchange, route.repository, route.digest);
    case 'uploads':
      return beginUpload(exchange, route.repository);
    case 'upload': {
      const byMethod = { PATCH: appendUpload, PUT: finishUpload, DELETE: cancelUpload };
      return (byMethod[method as keyof typeof byMethod] ?? uploadStatus)(exchange, route.repository, route.id);
    }
    case 'manifest': {
      const byMethod = { PUT: writeManifest, DELETE: deleteManifest };
      return (byMethod[method as keyof typeof byMethod] ?? readManifest)(exchange, route.repository, route.reference);
    }
  }
}

function refuse(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply {
  const refusal = asRefusal(error);
  if (refusal.status >= 500) request.log.error({ err: error }, 'request failed');
  drain(request.raw);
  return reply
    .code(refusal.status)
    .headers(refusal.options.headers ?? {})
    .type('application/json')
    .send(refusal.body());
}

/** Reads on what a refused request still sends: most clients look at the answer only when they have sent everything. */
function drain(message: IncomingMessage): void {
  if (message.complete || message.destroyed) return;
  let left = maxDrainedBytes;
  message.on('error', () => undefined);
  message.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) message.destroy();
  });
}

function asRefusal(error: unknown): RegistryError {
  if (error instanceof RegistryError) return error;
  if (isOutOfSpace(error)) return new RegistryError('INSUFFICIENT_STORAGE', 'the registry has no room left');
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message: string };
  // The client went away or broke its own body off; whatever is answered, nobody reads it.
  if (code === 'ECONNRESET') return new RegistryError('BLOB_UPLOAD_INVALID', 'the body broke off');
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new RegistryError('UNSUPPORTED', message, { status: statusCode });
  if (isMissing(error)) return new RegistryError('UNKNOWN', 'what was asked for has just been removed', { status: 404 });
  return new RegistryError('UNKNOWN', 'something went wrong on our side');
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What kind of endpoint the path names, for metrics and the log; `none` until it is known. */
    endpoint: RouteKind | 'none';
  }
}

function observe(server: FastifyInstance, metrics: RegistryMetrics): void {
  server.decorateRequest('endpoint', 'none');
  // What a connection had brought when its last request was answered: a small body may arrive together with its head.
  const counted = new WeakMap<Socket, number>();
  server.addHook('onResponse', async (request, reply) => {
    const { method, endpoint } = request;
    const { socket } = request.raw;
    const receivedBytes = socket.bytesRead - (counted.get(socket) ?? 0);
    counted.set(socket, socket.bytesRead);
    const status = reply.statusCode;
    const sentBytes = method === 'HEAD' ? 0 : Number(reply.getHeader('content-length') ?? 0);
    metrics.answered({ method, endpoint, status, seconds: reply.elapsedTime / 1000, receivedBytes, sentBytes });
    request.log.info({ method, endpoint, status, durationMs: Math.round(reply.elapsedTime), receivedBytes, sentBytes }, 'answered');
  });
}

import { AppError } from '@berth/core';
import type { FastifyInstance } from 'fastify';
import type { Logger } from '../logger.js';
import type { Metrics } from '../metrics/metrics.js';
import type { AuthenticatedRequest } from './caller.js';
import { ServedRoutes } from './served-routes.js';

/** Counts and logs every request, and answers a wrong method at a known path with `methodNotAllowed`. Before the routes are registered. */
export function observeHttp(server: FastifyInstance, metrics: Metrics, logger: Logger): ServedRoutes {
  const served = new ServedRoutes();
  server.addHook('onRoute', ({ method, url }) => served.note(method, url));
  server.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return;
    const methods = served.methodsAt(request.url.split('?')[0] ?? '');
    if (methods.length === 0) return;
    reply.header('allow', methods.join(', '));
    throw new AppError('methodNotAllowed', `this path takes ${methods.join(', ')}`);
  });
  server.addHook('onResponse', async (request: AuthenticatedRequest, reply) => {
    // The pattern and not the path: ids in labels would make a series of each.
    const route = request.routeOptions.url ?? 'unknown';
    metrics.httpDuration.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
    const caller = request.caller?.kind === 'tenant' ? request.caller.tenant.name : request.caller?.kind;
    const level = route === '/healthz' || route === '/readyz' ? 'debug' : 'info';
    logger[level](
      { requestId: request.id, method: request.method, route, status: reply.statusCode, ms: Math.round(reply.elapsedTime), caller },
      'request',
    );
  });
  return served;
}

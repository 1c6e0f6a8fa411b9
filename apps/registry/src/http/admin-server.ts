import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import type { RegistryMetrics } from '../metrics.js';

/** /metrics, /healthz (this process runs) and /readyz (it can check keys and reach its directory), without credentials, on a port of its own. */
export function buildAdminServer(metrics: RegistryMetrics, ready: () => Promise<void>, logger: FastifyBaseLogger): FastifyInstance {
  const server = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
  });
  server.get('/metrics', async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));
  server.get('/healthz', async () => ({ status: 'ok' }));
  server.get('/readyz', async (request, reply) => {
    try {
      await ready();
      return { status: 'ok' };
    } catch (error) {
      request.log.warn({ err: error }, 'not ready');
      return reply.code(503).send({ status: 'unavailable' });
    }
  });
  return server;
}

import type { Server } from 'node:http';
import { AppError, hashSecret, isSecret } from '@berth/core';
import { openQueues } from '@berth/queue';
import { type ApiKeyStore, openStore } from '@berth/store';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { appModule, type Foundations } from './app.module.js';
import type { Config } from './config.js';
import { LinkServer } from './fleet/link-server.js';
import { observeHttp } from './http/observe-http.js';
import { OpenStreams } from './http/open-streams.js';
import { quietPeriod } from './http/quiet-period.js';
import type { ServedRoutes } from './http/served-routes.js';
import { createHttpAdapter } from './http/server.js';
import { type Logger, nestLogger } from './logger.js';
import { type AdminServer, serverUrl, startAdminServer } from './metrics/admin-server.js';
import { Metrics } from './metrics/metrics.js';
import { observeService } from './metrics/observe-service.js';
import { Signals } from './queue/signals.js';
import { WakeUps } from './queue/wake-ups.js';
import { Readiness } from './readiness.js';
import { AdmitWaiting } from './scheduler/admit-waiting.js';
import { ForgetOld } from './scheduler/forget-old.js';
import { LoseNodes } from './scheduler/lose-nodes.js';
import { PlaceRuns } from './scheduler/place-runs.js';
import { PlaceStalled } from './scheduler/place-stalled.js';
import { Sweeper } from './scheduler/sweeper.js';

/** By then every request that was under way at a stop has its answer: the longest wait for a registry, and a margin. */
const answerMaxMs = 8_000;

/** A control plane that serves. */
export interface ControlPlane {
  readonly url: string;
  readonly adminUrl: string;
  readonly config: Config;
  /** What is served, for those who compare it with what is described. */
  readonly routes: ServedRoutes;
  /** Ends without losing a request or a report: see `stop` below for the order. */
  close(): Promise<void>;
}

/** Starts a replica: migrates the database, adopts the admin key, then serves. Throws, with everything closed again, when it cannot. */
export async function startControlPlane(config: Config, logger: Logger): Promise<ControlPlane> {
  const store = openStore({ url: config.databaseUrl, poolSize: config.databasePool });
  try {
    const { applied } = await store.migrate();
    if (applied.length > 0) logger.info({ applied }, 'migrated');
    if (config.adminKey !== null) await adoptAdminKey(store.apiKeys, config.adminKey);
  } catch (error) {
    await store.close();
    throw error;
  }
  const queues = openQueues({
    store: config.redisUrl === null ? { postgresUrl: config.databaseUrl } : { redisUrl: config.redisUrl },
    onError: (error) => logger.warn({ err: error }, 'queue'),
  });
  const { relay, wakeQueue } = queues;
  return serve({ config, logger, store, relay, wakeQueue: config.queue ? wakeQueue : null }, async () => {
    await queues.close();
    await store.close();
  });
}

async function serve(foundations: Foundations, closeFoundations: () => Promise<void>): Promise<ControlPlane> {
  const { config, logger } = foundations;
  const app = await NestFactory.create<NestFastifyApplication>(appModule(foundations), createHttpAdapter(config), {
    bodyParser: false,
    logger: nestLogger(logger),
    abortOnError: false,
  });
  const server = app.getHttpServer() as unknown as Server;
  app.get(LinkServer).attach(server);
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  const routes = observeHttp(fastify, app.get(Metrics), logger);
  fastify.addHook('onSend', async (_request, reply) => {
    if (app.get(Readiness).stopping) reply.header('connection', 'close');
  });
  observeService(app);
  const placeRuns = app.get(PlaceRuns);
  const sweeper = createSweeper(app, config, logger);
  let admin: AdminServer | null = null;
  const stop = async (): Promise<void> => {
    // Balancers first, then those who would wait for us, then the doors; what is under way ends before what it stands on is closed.
    app.get(Readiness).stop();
    app.get(OpenStreams).stop();
    if (server.listening) await quietPeriod(server, config.drainMs);
    // A connection on which no request was ever sent is idle to nobody, and would hold the door open until the server's own timeouts.
    const cut = setTimeout(() => server.closeAllConnections(), answerMaxMs);
    await Promise.all([app.close(), app.get(LinkServer).stop()]);
    clearTimeout(cut);
    await sweeper.stop();
    await app.get(WakeUps).stop();
    await placeRuns.settled();
    await admin?.close();
    await closeFoundations();
  };
  try {
    await app.get(Signals).start();
    await app.get(WakeUps).start(() => placeRuns.execute());
    if (config.sweeper) sweeper.start();
    admin = await startAdminServer(config.admin, app.get(Metrics), app.get(Readiness));
    await app.listen(config.listen.port, config.listen.host);
  } catch (error) {
    await stop();
    throw error;
  }
  let stopped: Promise<void> | null = null;
  return {
    url: serverUrl(config.listen.tls === null ? 'http' : 'https', server, config.listen.host),
    adminUrl: admin.url,
    config,
    routes,
    close: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

function createSweeper(app: NestFastifyApplication, config: Config, logger: Logger): Sweeper {
  const steps = [
    { name: 'publishOutbox', every: 1, execute: () => app.get(WakeUps).publishOutbox() },
    { name: 'placeStalled', every: 1, execute: () => app.get(PlaceStalled).execute() },
    { name: 'loseNodes', every: 3, execute: () => app.get(LoseNodes).execute() },
    { name: 'admitWaiting', every: 5, execute: () => app.get(AdmitWaiting).execute() },
    { name: 'forgetOld', every: 30, execute: () => app.get(ForgetOld).execute() },
  ];
  return new Sweeper(steps, config.sweepMs, app.get(Metrics), logger);
}

/** Makes the key of the environment the operator's, in place of the one before it. Replicas that start together may all try. */
async function adoptAdminKey(apiKeys: ApiKeyStore, key: string): Promise<void> {
  if (!isSecret('berth', key)) throw new AppError('invalidRequest', 'BERTH_ADMIN_KEY must be berth_ and 32 letters or digits');
  if ((await apiKeys.adoptEnvironmentKey(hashSecret(key))) === 'revoked')
    throw new AppError('unauthorized', 'BERTH_ADMIN_KEY is a key that was replaced or revoked: set the current one, a fresh one, or none');
}

import { access, constants, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import type { ApiKeyStore } from '@berth/store';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { Authenticator } from './access/authenticator.js';
import type { RegistryConfig } from './config.js';
import { buildAdminServer } from './http/admin-server.js';
import { buildServer } from './http/server.js';
import { RegistryMetrics } from './metrics.js';
import { ContentStore } from './storage/content-store.js';
import { makeDirectory } from './storage/durable.js';
import { Layout } from './storage/layout.js';
import { RepositoryStore } from './storage/repository-store.js';
import { UploadStore } from './storage/upload-store.js';
import { type SweepOutcome, sweepRegistry } from './sweep/sweep-registry.js';

/** What of the store the registry needs. */
export interface RegistryKeys {
  readonly apiKeys: ApiKeyStore;
  ping(): Promise<void>;
}

export interface RunningRegistry {
  readonly url: string;
  readonly adminUrl: string;
  /** One pass of the garbage collector, besides those that the timer starts. */
  sweep(): Promise<SweepOutcome>;
  /** Stops accepting, lets requests end for at most `graceMs`, then cuts them off. */
  close(graceMs: number): Promise<void>;
}

/** Opens the directory, which belongs to this one process, and serves it. */
export async function startRegistry(
  config: Omit<RegistryConfig, 'databaseUrl'>,
  keys: RegistryKeys,
  logger: FastifyBaseLogger,
): Promise<RunningRegistry> {
  const nowMs = (): number => Date.now();
  const layout = new Layout(config.directory);
  await rm(layout.scratch, { recursive: true, force: true });
  for (const directory of [layout.blobs, layout.repositories, layout.uploads, layout.scratch]) await makeDirectory(directory);

  const content = new ContentStore(layout);
  const repositories = new RepositoryStore(layout, content);
  const limits = { blobBytes: config.maxBlobBytes, uploadsPerTenant: config.maxUploadsPerTenant };
  const uploads = await UploadStore.open(layout, limits, nowMs);
  const stores = { content, repositories, uploads };

  const metrics = new RegistryMetrics(() => uploads.count(null));
  const authenticator = new Authenticator(keys.apiKeys, config.tokenSecret, config.keyCacheMs, nowMs);
  const server = buildServer({ stores, authenticator, metrics, logger, idleTimeoutMs: config.idleTimeoutMs, tls: config.tls });
  const ready = async (): Promise<void> => {
    await keys.ping();
    await access(layout.scratch, constants.W_OK);
  };
  const admin = buildAdminServer(metrics, ready, logger);

  const sweep = async (): Promise<SweepOutcome> => {
    const { sweepGraceMs: graceMs, uploadExpiryMs } = config;
    try {
      const outcome = await sweepRegistry(stores, { nowMs: nowMs(), graceMs, uploadExpiryMs });
      metrics.swept(outcome);
      logger.info(outcome, 'swept');
      return outcome;
    } catch (error) {
      metrics.swept('failed');
      throw error;
    }
  };
  const sweeper = repeat(sweep, config.sweepEveryMs, (error) => logger.error({ err: error }, 'sweep failed'));

  await server.listen({ host: config.host, port: config.port });
  await admin.listen({ host: config.adminHost, port: config.adminPort });
  return {
    url: urlOf(server, config.tls === null ? 'http' : 'https'),
    adminUrl: urlOf(admin, 'http'),
    sweep,
    close: async (graceMs) => {
      const stopped = Promise.all([sweeper.stop(), server.close(), admin.close()]);
      const cut = setTimeout(() => server.server.closeAllConnections(), graceMs);
      try {
        await stopped;
      } finally {
        clearTimeout(cut);
      }
    },
  };
}

/** Runs `action` at once and then every `everyMs`, never twice at a time. */
function repeat(action: () => Promise<unknown>, everyMs: number, failed: (error: unknown) => void): { stop(): Promise<void> } {
  let running: Promise<unknown> | null = null;
  const turn = (): void => {
    running ??= action()
      .catch(failed)
      .finally(() => {
        running = null;
      });
  };
  const timer = setInterval(turn, everyMs);
  turn();
  return {
    stop: async () => {
      clearInterval(timer);
      await running;
    },
  };
}

function urlOf(server: FastifyInstance, scheme: 'http' | 'https'): string {
  const { address, family, port } = server.server.address() as AddressInfo;
  return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashSecret, mintPullToken, newSecret, type RegistryAction, secretRandomBytes } from '@berth/core';
import { openStore, type Store } from '@berth/store';
import { freshDatabase } from '@berth/testing';
import pino from 'pino';
import type { RegistryConfig } from '../config.js';
import { type RunningRegistry, startRegistry } from '../start-registry.js';
import { RegistryClient } from './registry-client.js';

/** A tenant with a key of its own. */
export interface TestTenant {
  readonly id: string;
  readonly name: string;
  readonly key: string;
  readonly keyId: string;
  readonly client: RegistryClient;
}

/** The real registry over a real database and a directory of its own, within this process. */
export interface RegistryUnderTest {
  readonly running: RunningRegistry;
  readonly url: string;
  readonly host: string;
  readonly directory: string;
  readonly databaseUrl: string;
  readonly tokenSecret: Buffer;
  readonly store: Store;
  /** Lines of the service's log so far. */
  readonly log: string[];
  tenant(name: string): Promise<TestTenant>;
  adminKey(): Promise<string>;
  /** A token that pulls these repositories for another minute, or that expired when `ageMs` is positive. */
  pullToken(repositories: string[], ageMs?: number): string;
  /** With which the control plane looks after a tenant's images. */
  tenantToken(tenant: string, actions: readonly RegistryAction[]): string;
  client(authorization: string | null): RegistryClient;
  /** Ends every connection to the database for good. */
  loseDatabase(): Promise<void>;
  close(): Promise<void>;
}

export async function startRegistryUnderTest(change: Partial<RegistryConfig> = {}): Promise<RegistryUnderTest> {
  const database = await freshDatabase();
  const store = openStore({ url: database.url, poolSize: 2 });
  await store.migrate();
  const directory = change.directory ?? (await mkdtemp(join(tmpdir(), 'berth-registry-')));
  const tokenSecret = randomBytes(32);
  const log: string[] = [];
  const config = {
    host: '127.0.0.1',
    port: 0,
    tls: null,
    adminHost: '127.0.0.1',
    adminPort: 0,
    tokenSecret,
    keyCacheMs: 100,
    maxBlobBytes: 1024 ** 3,
    maxUploadsPerTenant: 256,
    uploadExpiryMs: 3_600_000,
    sweepGraceMs: 3_600_000,
    sweepEveryMs: 3_600_000,
    idleTimeoutMs: 30_000,
    ...change,
    directory,
  };
  const running = await startRegistry(config, store, pino({ level: 'trace' }, { write: (line: string) => void log.push(line) }));

  let closing: Promise<void> | null = null;
  const closeStore = (): Promise<void> => {
    closing ??= store.close();
    return closing;
  };
  const createKey = async (tenantId: string | null): Promise<{ key: string; keyId: string }> => {
    const key = newSecret('berth', randomBytes(secretRandomBytes));
    const row = await store.apiKeys.create({ tenantId, name: 'test', hash: hashSecret(key), expiresAt: null });
    return { key, keyId: row.id };
  };
  return {
    running,
    url: running.url,
    host: new URL(running.url).host,
    directory,
    databaseUrl: database.url,
    tokenSecret,
    store,
    log,
    tenant: async (name) => {
      const quota = { concurrentRuns: 1, cpuMillis: 1000, memoryBytes: 1024 ** 3 };
      const { id } = await store.tenants.create({ name, quota, requireDigest: false });
      const { key, keyId } = await createKey(id);
      return { id, name, key, keyId, client: new RegistryClient(running.url, basic(key)) };
    },
    adminKey: async () => (await createKey(null)).key,
    pullToken: (repositories, ageMs = -60_000) =>
      mintPullToken({ repositories, actions: ['pull'], exp: Math.floor((Date.now() - ageMs) / 1000) }, tokenSecret),
    tenantToken: (tenant, actions) =>
      mintPullToken({ repositories: [], tenant, actions, exp: Math.floor(Date.now() / 1000) + 60 }, tokenSecret),
    client: (authorization) => new RegistryClient(running.url, authorization),
    loseDatabase: closeStore,
    close: async () => {
      await running.close(1000);
      await closeStore();
      await database.drop();
      if (change.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}

export function basic(key: string): string {
  return `Basic ${Buffer.from(`berth:${key}`).toString('base64')}`;
}

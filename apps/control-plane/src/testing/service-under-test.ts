import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { digestOf, newSecret, secretRandomBytes } from '@berth/core';
import { type ImageManifest, MEDIA_TYPES, RegistryClient } from '@berth/image';
import { openStore, type Store } from '@berth/store';
import { freshDatabase, type RedisServer, startRedis } from '@berth/testing';
import type { Quota } from '@berth/wire';
import { readConfig } from '../config.js';
import { createLogger } from '../logger.js';
import { type ControlPlane, startControlPlane } from '../start-control-plane.js';
import { AgentPeer } from './agent-peer.js';
import { TestClient } from './test-client.js';

/** Where BullMQ keeps its jobs. */
export type Backend = 'postgres' | 'redis';
export const backends: readonly Backend[] = ['postgres', 'redis'];

/** For `eventually`: how long a loaded machine may take for what an idle one does at once. */
export const patience = { timeoutMs: 20_000, intervalMs: 50 };

export interface TestTenant {
  readonly id: string;
  readonly name: string;
  readonly key: string;
  readonly api: TestClient;
  /** An image in the tenant's own namespace, with a tag. */
  readonly image: string;
  readonly digest: string;
}

/** The control plane in this process, over a real database, a real registry in a process of its own and, where asked, a real Redis. */
export class ServiceUnderTest {
  readonly replicas: ControlPlane[] = [];
  readonly peers: AgentPeer[] = [];
  private tenants = 0;

  private constructor(
    readonly store: Store,
    readonly databaseUrl: string,
    readonly registryUrl: string,
    readonly redis: RedisServer | null,
    readonly adminKey: string,
    readonly environment: Record<string, string>,
    private readonly cleanUps: (() => Promise<unknown>)[],
  ) {}

  static async start(backend: Backend, env: Record<string, string> = {}): Promise<ServiceUnderTest> {
    const cleanUps: (() => Promise<unknown>)[] = [];
    const database = await freshDatabase();
    cleanUps.push(() => database.drop());
    const store = openStore({ url: database.url, poolSize: 4 });
    await store.migrate();
    cleanUps.push(() => store.close());
    const redis = backend === 'redis' ? await startRedis() : null;
    if (redis !== null) cleanUps.push(() => redis.stop());
    const secret = randomBytes(32).toString('hex');
    const registry = await startRegistryProcess(database.url, secret);
    cleanUps.push(() => registry.stop());
    const adminKey = newSecret('berth', randomBytes(secretRandomBytes));
    const service = new ServiceUnderTest(
      store,
      database.url,
      registry.url,
      redis,
      adminKey,
      {
        BERTH_DATABASE_URL: database.url,
        BERTH_DATABASE_POOL: '10',
        BERTH_PORT: '0',
        BERTH_ADMIN_PORT: '0',
        BERTH_REGISTRY_URL: registry.url,
        BERTH_REGISTRY_SECRET: secret,
        BERTH_ADMIN_KEY: adminKey,
        BERTH_PLATFORM: 'linux/amd64',
        BERTH_SWEEP_MS: '100',
        BERTH_HEARTBEAT_MS: '200',
        BERTH_STOP_AFTER_MS: '10000',
        BERTH_LOST_AFTER_MS: '15000',
        BERTH_LOG_LEVEL: process.env.BERTH_LOG_LEVEL ?? 'silent',
        ...(redis === null ? {} : { BERTH_REDIS_URL: redis.url }),
        ...env,
      },
      cleanUps,
    );
    await service.addReplica();
    return service;
  }

  get url(): string {
    return this.firstReplica.url;
  }

  get firstReplica(): ControlPlane {
    const [first] = this.replicas;
    if (first === undefined) throw new Error('no replica runs');
    return first;
  }

  get admin(): TestClient {
    return new TestClient(this.url, this.adminKey);
  }

  async addReplica(env: Record<string, string> = {}): Promise<ControlPlane> {
    const config = readConfig({ ...this.environment, ...env });
    const replica = await startControlPlane(config, createLogger(config.logLevel));
    this.replicas.push(replica);
    return replica;
  }

  /** A fresh tenant with a key and an image. */
  async tenant(quota: Partial<Quota> = {}): Promise<TestTenant> {
    const name = `tenant-${++this.tenants}`;
    const created = await this.admin.post('/v1/admin/tenants', { name, quota });
    const id = created.json.id as string;
    const key = (await this.admin.post(`/v1/admin/tenants/${id}/keys`, { name: 'test' })).json.secret as string;
    const repository = `${name}/app`;
    const digest = await this.push(key, repository, 'v1', 'amd64');
    return { id, name, key, api: new TestClient(this.url, key), image: `registry.berth/${repository}:v1`, digest };
  }

  /** Pushes a small real image. Returns its digest. */
  async push(key: string, repository: string, tag: string, architecture: string, content = tag): Promise<string> {
    const client = new RegistryClient({
      resolveRegistry: () => ({ url: this.registryUrl, allowInternal: true }),
      authorization: `Bearer ${key}`,
    });
    const reference = { registry: 'registry.berth', repository };
    const layer = await blob(client, reference, Buffer.from(`layer of ${repository} ${content}`));
    const config = { architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [layer.digest] } };
    const configBlob = await blob(client, reference, Buffer.from(JSON.stringify(config)));
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...configBlob },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
    };
    return client.pushManifest({ ...reference, tag }, manifest.mediaType, Buffer.from(JSON.stringify(manifest)));
  }

  /** The manifest of a tenant's image. */
  async manifest({ key, name, digest }: TestTenant): Promise<ImageManifest> {
    const client = new RegistryClient({
      resolveRegistry: () => ({ url: this.registryUrl, allowInternal: true }),
      authorization: `Bearer ${key}`,
    });
    return (await client.fetchManifest({ registry: 'registry.berth', repository: `${name}/app`, digest })).content as ImageManifest;
  }

  /** A node that is connected to the first replica, or to `url`. */
  async agent(offer: { cpuMillis?: number; memoryBytes?: number } = {}, url = this.url): Promise<AgentPeer> {
    const peer = await this.joinAgent(offer);
    await peer.connect(url);
    return peer;
  }

  async joinAgent({
    cpuMillis = 8000,
    memoryBytes = 8 * 1024 ** 3,
  }: {
    cpuMillis?: number;
    memoryBytes?: number;
  } = {}): Promise<AgentPeer> {
    const { json } = await this.admin.post('/v1/admin/join-tokens', {});
    const peer = await AgentPeer.join(this.url, json.token as string, `node-${this.peers.length + 1}`, { cpuMillis, memoryBytes });
    this.peers.push(peer);
    return peer;
  }

  async close(): Promise<void> {
    for (const peer of this.peers) peer.vanish();
    await Promise.all(this.replicas.map((replica) => replica.close()));
    for (const cleanUp of this.cleanUps.reverse()) await cleanUp();
  }
}

async function blob(client: RegistryClient, reference: { registry: string; repository: string }, bytes: Buffer) {
  const descriptor = { digest: digestOf(bytes), size: bytes.length };
  await client.pushBlob(reference, descriptor, () => bytes);
  return descriptor;
}

/** The registry as it ships, on free ports and a directory of its own. */
async function startRegistryProcess(databaseUrl: string, secret: string): Promise<{ url: string; stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'berth-control-plane-registry-'));
  const main = fileURLToPath(new URL('../../../registry/dist/main.js', import.meta.url));
  // A test run that is killed must not leave it behind.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, main], {
    env: {
      ...process.env,
      BERTH_DATABASE_URL: databaseUrl,
      BERTH_REGISTRY_SECRET: secret,
      BERTH_REGISTRY_DIR: directory,
      BERTH_REGISTRY_PORT: '0',
      BERTH_REGISTRY_ADMIN_PORT: '0',
      BERTH_LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await listeningUrl(child);
  return {
    url,
    stop: async () => {
      child.kill('SIGTERM');
      await once(child, 'exit');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function listeningUrl(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the registry has no stdout');
  for await (const line of createInterface(child.stdout)) {
    const match = /listening on (\S+)/.exec(line);
    if (match?.[1] !== undefined) return match[1];
  }
  throw new Error('the registry did not start');
}

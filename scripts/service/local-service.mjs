import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { root } from '../setup.mjs';
import { apiClient, createJoinToken, createKey, ensureTenant, listNodes } from './admin-api.mjs';
import { Child } from './child.mjs';
import { claim, openHome, readKeys, writeKeys } from './home.mjs';
import { freePort, requireFree } from './ports.mjs';
import { preparePostgres } from './postgres.mjs';

/** The ports people know, and the variables that move them. Postgres has none of its own: nobody outside needs it, so a free one is taken. */
const wellKnown = [
  { part: 'url', port: 7070, purpose: 'the HTTP API', variable: 'BERTH_PORT' },
  { part: 'admin', port: 7071, purpose: 'metrics', variable: 'BERTH_ADMIN_PORT' },
  { part: 'agent', port: 7072, purpose: "the agent's metrics", variable: 'BERTH_AGENT_METRICS_PORT' },
  { part: 'registry', port: 7073, purpose: 'the registry', variable: 'BERTH_REGISTRY_PORT' },
  { part: 'registryAdmin', port: 7074, purpose: "the registry's metrics", variable: 'BERTH_REGISTRY_ADMIN_PORT' },
];

/** The well-known ports or those the environment names; throws, naming it, when one is taken. */
export async function chosenPorts(env = process.env) {
  const ports = {};
  for (const { part, port, purpose, variable } of wellKnown) {
    const chosen = Number(env[variable] || port);
    if (!Number.isInteger(chosen) || chosen < 0 || chosen > 65_535) throw new Error(`${variable} must be a port, not "${env[variable]}"`);
    if (chosen !== 0) await requireFree(chosen, purpose, variable);
    ports[part] = chosen === 0 ? await freePort() : chosen;
  }
  return ports;
}

/** A port for each part, free now. */
export async function freePorts() {
  const ports = {};
  for (const { part } of wellKnown) ports[part] = await freePort();
  return ports;
}

const listening = (log) => /listening on /.test(log);
const startedWithin = (limitMs) => ({ ready: listening, readyLimitMs: limitMs });

/**
 * The whole service on this machine: Postgres, control plane, registry, agents. Each part is a child process with its log in `$BERTH_HOME/log`.
 *
 * Emits `crashed` (name, how), `restarted` (name), and `gave-up` (Error) when a part cannot be kept alive.
 */
export class LocalService extends EventEmitter {
  #started = [];
  #release = null;
  #stopping = false;

  /**
   * @param {{ home: string, ports: import('./local-service.d.mts').Ports, env?: Record<string, string>,
   *   say?: (line: string) => void }} options `env` is given to every part
   */
  constructor({ home, ports, env = {}, say = () => {} }) {
    super();
    this.env = env;
    this.ports = ports;
    this.say = say;
    this.home = openHome(home);
    this.url = `http://127.0.0.1:${ports.url}`;
    this.registryUrl = `http://127.0.0.1:${ports.registry}`;
    this.metricsUrl = `http://127.0.0.1:${ports.admin}/metrics`;
    this.agents = new Map();
  }

  /** Starts everything but agents, and makes the first tenant and its key where there are none. Stops what it had started when a part fails. */
  async start() {
    this.#release = claim(this.home.path);
    try {
      await this.#startPostgres();
      // Neither waits for the other: a request to the registry comes only through a key, and keys come after both.
      await Promise.all([this.#startControlPlane(), this.#startRegistry()]);
      this.keys = await this.#ensureKeys();
      return this;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #startPostgres() {
    const { path, secrets, log } = this.home;
    const prepared = await preparePostgres({
      folder: join(path, 'postgres'),
      port: await freePort(),
      password: secrets.postgresPassword,
      log: log('postgres'),
    });
    this.databaseUrl = prepared.url;
    this.postgres = await this.#keep('Postgres', prepared.child, 'SIGINT');
  }

  async #startControlPlane() {
    const { secrets } = this.home;
    this.controlPlane = await this.#keep(
      'control plane',
      this.#node('control plane', 'control-plane', {
        BERTH_PORT: String(this.ports.url),
        BERTH_ADMIN_PORT: String(this.ports.admin),
        BERTH_DATABASE_URL: this.databaseUrl,
        BERTH_REGISTRY_URL: this.registryUrl,
        BERTH_REGISTRY_SECRET: secrets.registrySecret,
        BERTH_ADMIN_KEY: secrets.adminKey,
      }),
    );
    this.admin = apiClient(this.url, secrets.adminKey);
  }

  async #startRegistry() {
    this.registry = await this.#keep(
      'registry',
      this.#node('registry', 'registry', {
        BERTH_REGISTRY_PORT: String(this.ports.registry),
        BERTH_REGISTRY_ADMIN_PORT: String(this.ports.registryAdmin),
        BERTH_REGISTRY_DIR: join(this.home.path, 'registry'),
        BERTH_DATABASE_URL: this.databaseUrl,
        BERTH_REGISTRY_SECRET: this.home.secrets.registrySecret,
      }),
    );
  }

  /**
   * Starts an agent of this machine; `name` tells several apart. Its first start joins with a token made for it; later ones have a credential.
   * Waits until the control plane counts it as ready.
   *
   * @param {{ name?: string, cpuMillis?: number, memoryBytes?: number, metricsPort?: number, env?: Record<string, string> }} options
   * @returns {Promise<Child>}
   */
  async startAgent({ name = hostname(), cpuMillis, memoryBytes, metricsPort = this.ports.agent, env = {} } = {}) {
    const folder = join(this.home.path, this.agents.size === 0 ? 'agent' : `agent-${name}`);
    const token = existsSync(join(folder, 'credential.json')) ? {} : { BERTH_JOIN_TOKEN: await createJoinToken(this.admin) };
    const child = this.#node(`agent ${name}`, 'node-agent', {
      BERTH_URL: this.url,
      BERTH_AGENT_DIR: folder,
      BERTH_AGENT_METRICS_PORT: String(metricsPort),
      BERTH_NATIVE_DIR: join(root, 'native/build'),
      BERTH_NODE_NAME: name,
      // This service goes whole: its containers go with it.
      BERTH_AGENT_STOP_CONTAINERS: '1',
      ...(cpuMillis ? { BERTH_NODE_CPU_MILLIS: String(cpuMillis) } : {}),
      ...(memoryBytes ? { BERTH_NODE_MEMORY_BYTES: String(memoryBytes) } : {}),
      ...token,
      ...env,
    });
    this.agents.set(name, child);
    await this.#keep(`agent ${name}`, child);
    await this.#untilReady(name, child);
    return child;
  }

  async #untilReady(name, child) {
    const end = performance.now() + 30_000;
    while (performance.now() < end) {
      const nodes = await listNodes(this.admin);
      if (nodes.some((node) => node.name === name && node.state === 'ready' && node.cpuMillis > 0)) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`the agent ${name} runs, but the control plane does not see it ready; its log is ${child.options.log}`);
  }

  /** A Node.js program of ours. */
  #node(name, app, env) {
    return new Child({
      name,
      program: process.execPath,
      args: ['--enable-source-maps', join(root, 'apps', app, 'dist/main.js')],
      env: { BERTH_HOME: this.home.path, ...env, ...this.env },
      log: this.home.log(name.replaceAll(' ', '-')),
      ...startedWithin(60_000),
    });
  }

  async #keep(name, child, stopSignal = 'SIGTERM') {
    child.on('crashed', (how) => this.emit('crashed', name, how));
    child.on('restarted', () => this.emit('restarted', name));
    child.on('gave-up', (error) => this.emit('gave-up', error));
    if (this.#stopping) throw new Error('the service is stopping');
    this.#started.push({ child, stopSignal });
    this.say(`${name} ...`);
    const start = performance.now();
    await child.start();
    this.say(`${name}: ready in ${((performance.now() - start) / 1000).toFixed(1)} s (process ${child.pid})`);
    return child;
  }

  async #ensureKeys() {
    const { path, secrets } = this.home;
    const known = readKeys(path);
    const tenant = await ensureTenant(this.admin, 'default');
    const tenantKey = known?.tenantKey ?? (await createKey(this.admin, tenant, 'first key'));
    const keys = { url: this.url, registry: this.registryUrl, adminKey: secrets.adminKey, tenantKey };
    writeKeys(path, keys);
    return keys;
  }

  /** Stops the parts, last started first: agents take their containers along while the control plane still hears the end of each run. */
  async stop() {
    this.#stopping = true;
    for (const { child, stopSignal } of this.#started.splice(0).reverse()) {
      if (child.pid !== null) this.say(`stopping ${child.name} ...`);
      await child.stop(stopSignal);
    }
    this.agents.clear();
    this.#release?.();
    this.#release = null;
  }
}

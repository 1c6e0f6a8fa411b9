import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '@berth/testing';
import type { Run } from '@berth/wire';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Inventory, settledLeftovers, takeInventory } from '#scripts/machine-inventory.mjs';
import { apiClient } from '#scripts/service/admin-api.mjs';
import { pushBusybox } from '../support/busybox-image.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const root = resolve(import.meta.dirname, '../../..');
const anyPorts = {
  BERTH_PORT: '0',
  BERTH_ADMIN_PORT: '0',
  BERTH_REGISTRY_PORT: '0',
  BERTH_REGISTRY_ADMIN_PORT: '0',
  BERTH_AGENT_METRICS_PORT: '0',
};
const started = new Set<ChildProcess>();

interface Started {
  readonly process: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

function start(home: string, env: Record<string, string> = {}): Started {
  const child = spawn(process.execPath, ['scripts/start.mjs'], {
    cwd: root,
    env: { ...process.env, ...anyPorts, BERTH_HOME: home, ...env },
  });
  started.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  return { process: child, output: () => output, ended: new Promise((done) => child.on('close', done)) };
}

async function running(home: string, env?: Record<string, string>): Promise<Started> {
  const one = start(home, env);
  await eventually(() => expect(one.output()).toContain('Berth runs.'), { timeoutMs: 110_000 });
  return one;
}

interface Keys {
  url: string;
  registry: string;
  adminKey: string;
  tenantKey: string;
}
const keysOf = (home: string) => JSON.parse(readFileSync(join(home, 'keys.json'), 'utf8')) as Keys;

describe('npm start', () => {
  let home: string;
  let before: Inventory;

  beforeEach(() => {
    before = takeInventory();
    home = mkdtempSync(join(tmpdir(), 'berth-start-'));
  });
  afterEach(async () => {
    for (const child of started) child.kill('SIGKILL');
    started.clear();
    expect(await settledLeftovers(before, (text) => text.includes(home), 20_000)).toEqual([]);
    rmSync(home, { recursive: true, force: true });
  });

  it('serves its first tenant, stops on Ctrl-C, and finds its data at the second start', async () => {
    const first = await running(home);
    const keys = keysOf(home);
    expect(statSync(join(home, 'keys.json')).mode & 0o777).toBe(0o600);
    await pushBusybox(keys.registry, 'default/busybox', keys.tenantKey);
    const run = await apiClient(keys.url, keys.tenantKey).post<Run>('/v1/runs', {
      image: 'registry.berth/default/busybox:latest',
      command: ['/bin/echo', 'kept'],
    });
    await apiClient(keys.url, keys.tenantKey).get(`/v1/runs/${run.id}/wait`);
    first.process.kill('SIGINT');
    expect(await first.ended).toBe(0);

    const second = await running(home);
    const again = keysOf(home);
    expect({ ...again, url: keys.url, registry: keys.registry }).toEqual(keys);
    const api = apiClient(again.url, again.tenantKey);
    expect(await api.get<Run>(`/v1/runs/${run.id}`)).toMatchObject({ state: 'succeeded', exitCode: 0 });
    expect(await api.get<string>(`/v1/runs/${run.id}/logs`)).toBe('kept\n');
    const nodes = await apiClient(again.url, again.adminKey).get<{ items: unknown[] }>('/v1/admin/nodes');
    expect(nodes.items).toHaveLength(1);
    second.process.kill('SIGTERM');
    expect(await second.ended).toBe(0);
  });

  it('takes its containers along when it stops', async () => {
    const one = await running(home);
    const keys = keysOf(home);
    await pushBusybox(keys.registry, 'default/busybox', keys.tenantKey);
    const api = apiClient(keys.url, keys.tenantKey);
    const run = await api.post<Run>('/v1/runs', {
      image: 'registry.berth/default/busybox:latest',
      command: ['/bin/sleep', '600'],
      stopGraceMs: 100,
    });
    await eventually(async () => expect((await api.get<Run>(`/v1/runs/${run.id}`)).state).toBe('running'), { timeoutMs: 20_000 });
    one.process.kill('SIGINT');
    expect(await one.ended).toBe(0);
  });

  it('leaves nothing when it is killed with a container running', async () => {
    const one = await running(home);
    const keys = keysOf(home);
    await pushBusybox(keys.registry, 'default/busybox', keys.tenantKey);
    const api = apiClient(keys.url, keys.tenantKey);
    const run = await api.post<Run>('/v1/runs', {
      image: 'registry.berth/default/busybox:latest',
      command: ['/bin/sleep', '600'],
      stopGraceMs: 100,
    });
    await eventually(async () => expect((await api.get<Run>(`/v1/runs/${run.id}`)).state).toBe('running'), { timeoutMs: 20_000 });
    one.process.kill('SIGKILL');
    await one.ended;
  });

  it('refuses a second start in the same home', async () => {
    const one = await running(home);
    const other = start(home);
    expect(await other.ended).toBe(1);
    expect(other.output()).toMatch(/already runs in .*process \d+/);
    one.process.kill('SIGINT');
    expect(await one.ended).toBe(0);
  });

  it('refuses the data of another major version of Postgres with a clear word', async () => {
    const one = await running(home);
    one.process.kill('SIGINT');
    await one.ended;
    const version = join(home, 'postgres/PG_VERSION');
    const current = readFileSync(version, 'utf8').trim();
    writeFileSync(version, '13\n');
    const other = start(home);
    expect(await other.ended).toBe(1);
    expect(other.output()).toMatch(new RegExp(`made by PostgreSQL 13 .* PostgreSQL ${current}`));
  });

  it('brings a part back that dies', async () => {
    const one = await running(home);
    const pid = Number(/registry: ready in .*process (\d+)/.exec(one.output())?.[1]);
    process.kill(pid, 'SIGKILL');
    await eventually(
      () => expect(one.output()).toMatch(/the registry was ended by SIGKILL; starting it again[\s\S]*the registry is back/),
      { timeoutMs: 20_000 },
    );
    expect((await fetch(`${keysOf(home).registry}/v2/`)).status).toBe(401);
    one.process.kill('SIGINT');
    expect(await one.ended).toBe(0);
  });
});

describe('a port that is taken', () => {
  const home = mkdtempSync(join(tmpdir(), 'berth-start-'));
  let holder: Server;
  let port: number;

  beforeAll(async () => {
    holder = createServer();
    await new Promise<void>((done) => holder.listen(0, '127.0.0.1', done));
    port = (holder.address() as { port: number }).port;
  });
  afterAll(() => {
    holder.close();
    rmSync(home, { recursive: true, force: true });
  });

  it('is named, with the variable that moves it, before anything is started', async () => {
    const one = start(home, { BERTH_PORT: String(port) });
    expect(await one.ended).toBe(1);
    expect(one.output()).toContain(`port ${port} (the HTTP API) is taken`);
    expect(one.output()).toContain('BERTH_PORT');
    expect(existsSync(join(home, 'postgres'))).toBe(false);
  });
});

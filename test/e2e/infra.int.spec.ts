import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { eventually, freePort } from '@berth/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiClient, createKey, ensureTenant } from '#scripts/service/admin-api.mjs';
import { freePorts, LocalService, type Ports } from '#scripts/service/local-service.mjs';
import { pushBusybox } from '../support/busybox-image.js';
import { TestTenant } from '../support/service.js';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('../../../', import.meta.url));
const infra = join(root, 'infra');

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { type: string; uid: string };
  targets?: { refId: string; expr: string; datasource: { uid: string } }[];
}
interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: { name: string; type: string; query: string | { query: string } }[] };
  panels: Panel[];
}
const dashboard = JSON.parse(readFileSync(join(infra, 'grafana/dashboards/berth.json'), 'utf8')) as Dashboard;
const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ refId, expr }) => ({ title, refId, expr })));
const substituted = (expr: string): string => expr.replaceAll('$__rate_interval', '1m').replaceAll('$node', '.*');

describe('the dashboard', () => {
  it('is one that Grafana accepts: ids, places, sources and references are sound', () => {
    expect(dashboard).toMatchObject({ uid: 'berth', title: 'Berth', schemaVersion: 39 });
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const variables = new Set(['__rate_interval', ...dashboard.templating.list.map(({ name }) => name)]);
    const cells = new Set<string>();
    for (const { type, title, gridPos, datasource, targets = [] } of dashboard.panels) {
      expect(['row', 'stat', 'timeseries']).toContain(type);
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(cells.has(`${x},${y}`), `${title} covers another panel`).toBe(false);
          cells.add(`${x},${y}`);
        }
      }
      if (type === 'row') continue;
      expect(datasource).toEqual({ type: 'prometheus', uid: `\${datasource}` });
      expect(targets.length, title).toBeGreaterThan(0);
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
      for (const { expr } of targets)
        for (const [, name] of expr.matchAll(/\$\{?(\w+)/g)) if (!/^\d/.test(name!)) expect(variables).toContain(name);
    }
  });
});

describe('configuration', () => {
  it('passes promtool, and every alert has a test', async () => {
    await execute('promtool', ['check', 'config', join(infra, 'prometheus/prometheus.yml')]);
    await execute('promtool', ['check', 'config', '--syntax-only', join(infra, 'compose/prometheus.yml')]);
    await execute('promtool', ['check', 'rules', '--lint=all', '--lint-fatal', join(infra, 'prometheus/rules/berth.yml')]);
    await execute('promtool', ['test', 'rules', join(infra, 'prometheus/rules/berth.test.yml')]);
    const tests = readFileSync(join(infra, 'prometheus/rules/berth.test.yml'), 'utf8');
    for (const name of alertNames())
      for (const pattern of [`alertname: ${name}, exp_alerts: []`, `{alertname="${name}"}`]) expect(tests).toContain(pattern);
  });

  it('of systemd verifies, and starts programs that are there', async () => {
    const units = readdirSync(join(infra, 'systemd')).map((name) => join(infra, 'systemd', name));
    await execute('systemd-analyze', ['verify', '--man=no', ...units]);
    for (const unit of units) {
      for (const [, path] of readFileSync(unit, 'utf8').matchAll(/\/opt\/berth\/(\S+)/g))
        expect(existsSync(join(root, path!)), path).toBe(true);
    }
  });

  it('names only variables that docs/contracts.md explains', () => {
    const contracts = readFileSync(join(root, 'docs/contracts.md'), 'utf8');
    const own = ['BERTH_POSTGRES_PASSWORD', 'BERTH_PROMETHEUS_URL'];
    for (const file of readdirSync(infra, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())) {
      for (const [name] of readFileSync(join(file.parentPath, file.name), 'utf8').matchAll(/\bBERTH_[A-Z_]+/g)) {
        if (!own.includes(name)) expect(contracts, `${file.name} names ${name}`).toContain(`\`${name}\``);
      }
    }
  });
});

describe('a real Prometheus beside the running service', { timeout: 180_000 }, () => {
  let service: LocalService;
  let home: string;
  let prometheus: ChildProcess;
  let prometheusUrl: string;
  let endpoints: string[];

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'berth-infra-'));
    const ports: Ports = await freePorts();
    service = new LocalService({ home, ports });
    await service.start();
    await service.startAgent({ name: 'one' });
    endpoints = [ports.admin, ports.agent, ports.registryAdmin].map((port) => `127.0.0.1:${port}`);
    [prometheus, prometheusUrl] = await startPrometheus(home, endpoints);
    // Ready, it takes up to five seconds more to find its targets; what happens before is no rate.
    const up = async () => expect((await query<{ result: unknown[] }>('query?query=up==1')).result).toHaveLength(endpoints.length);
    await eventually(up, { timeoutMs: 30_000, intervalMs: 200 });
    await generateLoad(service);
  });

  afterAll(async () => {
    if (prometheus !== undefined && prometheus.exitCode === null) {
      const ended = once(prometheus, 'exit');
      prometheus.kill('SIGTERM');
      await ended;
    }
    await service?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  it('finds every metric that the dashboard and the alerts name', async () => {
    const served = new Set<string>();
    for (const endpoint of endpoints) {
      const text = await (await fetch(`http://${endpoint}/metrics`)).text();
      for (const [, name] of text.matchAll(/^# TYPE (\S+)/gm)) served.add(name!);
    }
    const rules = readFileSync(join(infra, 'prometheus/rules/berth.yml'), 'utf8');
    for (const expr of [...queries.map((query) => query.expr), ...[...rules.matchAll(/^ +expr: (.*)$/gm)].map(([, text]) => text!)]) {
      for (const [, pattern] of expr.matchAll(/__name__=~"([^"]+)"/g)) {
        for (const part of ['', 'agent_', 'registry_']) expect(served).toContain(pattern!.replace('(agent_|registry_)?', part));
      }
      const named = expr.replaceAll(/"[^"]*"/g, '""').matchAll(/\bberth_\w+/g);
      for (const [name] of named) expect(served, `${name} of ${expr}`).toContain(name.replace(/_(bucket|count|sum)$/, ''));
    }
  });

  it.each(queries)('returns data for "$title" $refId', async ({ expr }) => {
    await eventually(
      async () => {
        const { result } = await query<{ result: { value: [number, string] }[] }>(`query?query=${encodeURIComponent(substituted(expr))}`);
        const numbers = result.map(({ value }) => Number(value[1])).filter(Number.isFinite);
        expect(numbers.length, `${expr} gave ${JSON.stringify(result)}`).toBeGreaterThan(0);
      },
      { timeoutMs: 20_000, intervalMs: 500 },
    );
  });

  it('fills the variables of the dashboard', async () => {
    for (const { type, query: definition } of dashboard.templating.list) {
      if (type !== 'query') continue;
      const text = typeof definition === 'string' ? definition : definition.query;
      const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(text)!;
      expect(await query<string[]>(`label/${label}/values?match[]=${metric}`)).not.toHaveLength(0);
    }
  });

  it('evaluates every alert, and none fires for a healthy service', async () => {
    const { groups } = await eventually(
      async () => {
        const answer = await query<{ groups: { rules: { name: string; health: string; state: string }[] }[] }>('rules?type=alert');
        for (const { rules } of answer.groups) for (const { name, health } of rules) expect([name, health]).toEqual([name, 'ok']);
        return answer;
      },
      { timeoutMs: 20_000, intervalMs: 500 },
    );
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.map(({ name }) => name).sort()).toEqual(alertNames().sort());
    expect(rules.filter(({ state }) => state === 'firing')).toEqual([]);
  });

  async function query<T>(path: string): Promise<T> {
    const response = await fetch(`${prometheusUrl}/api/v1/${path}`);
    const body = (await response.json()) as { status: string; data: T; error?: string };
    expect([body.status, body.error]).toEqual(['success', undefined]);
    return body.data;
  }
});

function alertNames(): string[] {
  return [...readFileSync(join(infra, 'prometheus/rules/berth.yml'), 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name!);
}

/** The shipped configuration but for the ports and the pace. */
async function startPrometheus(home: string, [controlPlane, agent, registry]: readonly string[]): Promise<[ChildProcess, string]> {
  const directory = join(home, 'prometheus');
  cpSync(join(infra, 'prometheus'), directory, { recursive: true });
  const config = readFileSync(join(directory, 'prometheus.yml'), 'utf8')
    .replace('127.0.0.1:7071', controlPlane!)
    .replace('127.0.0.1:7072', agent!)
    .replace('127.0.0.1:7074', registry!)
    .replaceAll('15s', '1s');
  writeFileSync(join(directory, 'prometheus.yml'), config);
  const url = `http://127.0.0.1:${await freePort()}`;
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=${new URL(url).host}`,
    ],
    { stdio: 'ignore' },
  );
  await eventually(async () => expect((await fetch(`${url}/-/ready`)).status).toBe(200), { timeoutMs: 60_000, intervalMs: 200 });
  return [child, url];
}

/** One of everything that counts: ends of every kind, refusals, repeats, waits for quota and capacity, streams. */
async function generateLoad(service: LocalService): Promise<void> {
  const tenant = await ensureTenant(service.admin, 'watched', { concurrentRuns: 3, cpuMillis: 3000, memoryBytes: 2 ** 30 });
  const key = await createKey(service.admin, tenant, 'test');
  const one = new TestTenant(tenant, key, apiClient(service.url, key), service);
  await pushBusybox(service.registryUrl, 'watched/busybox', key);
  for (let round = 0; round < 2; round += 1) {
    const runs = await Promise.all([
      one.sh('echo out; echo err >&2'),
      one.sh('exit 3'),
      one.sh('sleep 30', { timeoutMs: 300, stopGraceMs: 100 }),
      one.sh('x=a; while :; do x=$x$x; done'),
      one.sh('sleep 0.5'),
    ]);
    await one.submit({ image: 'registry.berth/watched/none:latest' }).catch(() => undefined);
    await Promise.all(runs.map(({ id }) => one.ended(id)));
    await Promise.all(runs.map(({ id }) => one.logs(id)));
    // A scrape between the rounds, so that rates have a difference to count.
    await sleep(2500);
  }
}

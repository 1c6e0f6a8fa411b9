import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, hierarchyOf, type OciConfig, type Report, reportOf, runtimePath, statusField, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const ways = ['with its root', 'bare'] as const;

/** A container that waits for its claim. */
class Parked {
  readonly #child: ChildProcess;
  readonly #socket: Socket;
  readonly #words: string[] = [];

  constructor(config: OciConfig, way: (typeof ways)[number]) {
    bundle.write(config);
    const fds = [openSync('/dev/null', 'r'), openSync(join(bundle.dir, 'stdout'), 'w'), openSync(join(bundle.dir, 'stderr'), 'w')];
    const args = ['--bundle', bundle.dir, '--pid-file', join(bundle.dir, 'pid'), '--claim', '3', ...(way === 'bare' ? ['--bare'] : [])];
    this.#child = spawn(runtimePath, ['--root', bundle.stateRoot, 'park', ...args, bundle.id], { stdio: [...fds, 'pipe'] });
    for (const fd of fds) closeSync(fd);
    this.#socket = this.#child.stdio[3] as Socket;
    this.#socket.on('error', () => {}).on('data', (bytes: Buffer) => this.#words.push(bytes.toString()));
  }

  async waits(): Promise<this> {
    await eventually(() => this.#words.length > 0 || this.#child.exitCode !== null, 'it waits');
    return this;
  }

  async ended(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    this.#socket.destroy();
    return this.#child.exitCode;
  }

  /** Claims it for a config; what the runtime ended with. */
  claim(config: OciConfig): Promise<number | null> {
    bundle.write(config);
    this.#socket.write('C');
    return this.ended();
  }

  abandon(): Promise<number | null> {
    this.#socket.end();
    return this.ended();
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** The container that a claim is for, everything given. */
function wanted(ops: string[]): OciConfig {
  const config = bundle.config(ops);
  config.hostname = 'wanted';
  config.annotations = { label: 'wanted' };
  config.process.env = ['PATH=/bin', 'NAME=value with "quotes"', `LONG=${'x'.repeat(100_000)}`];
  config.process.user = { uid: 1000, gid: 1001, umask: 0o027, additionalGids: [7, 8] };
  config.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 100, hard: 200 }];
  config.process.oomScoreAdj = 300;
  config.linux.resources = { memory: { limit: 64 << 20 }, pids: { limit: 33 } };
  return config;
}

/** What the container is parked with: as little as may be known ahead. */
function template(way: (typeof ways)[number]): OciConfig {
  const config = wanted(['exit', '99']);
  config.hostname = 'parked';
  delete config.annotations;
  config.process.env = ['SECRET=of the template'];
  config.process.user = { uid: 0, gid: 0 };
  if (way === 'with its root') return config;
  delete config.process.rlimits;
  delete config.process.oomScoreAdj;
  return { ...config, root: { path: '/nowhere' }, mounts: [], linux: { ...config.linux, resources: {} } };
}

/** What must be the same in each start: all that the probe sees but for what the kernel numbers. */
function comparable(report: Report): object {
  const { ns, mountinfo, keyring, status, ...rest } = report;
  const counted = /^(Pid|Tgid|NStgid|NSpid|NSpgid|NSsid|Ngid|Vm\w+|Rss\w+|Hugetlb\w+|SigQ|.*ctxt_switches|x86_Thread\w+):/;
  return {
    ...rest,
    status: status.split('\n').filter((line) => !counted.test(line)),
    ns: Object.keys(ns).sort(),
    hasKeyring: keyring > 0,
    mounts: mountinfo
      .split('\n')
      .filter(Boolean)
      .map((line) => line.replace(/^\d+ \d+ \d+:\d+ /, ''))
      // Listed by numbers that the kernel takes from where it likes.
      .sort(),
  };
}

/** The hierarchies' own files of the limits that `wanted` asks for. */
function limits(): string[] {
  const read = (controller: string, v1: string, v2: string) => {
    const { mount, v2: unified } = hierarchyOf(controller);
    return readFileSync(join(mount, bundle.cgroupsPath, unified ? v2 : v1), 'utf8').trim();
  };
  return [read('memory', 'memory.limit_in_bytes', 'memory.max'), read('pids', 'pids.max', 'pids.max')];
}

describe.each(ways)('a container parked %s', (way) => {
  it('is after its claim what a cold start makes', async () => {
    bundle.write(wanted(['report']));
    const cold = reportOf(bundle.runtime(['run', '--bundle', bundle.dir, bundle.id]));
    expect(await (await new Parked(template(way), way).waits()).claim(wanted(['report', 'sleep', '30000']))).toBe(0);
    await eventually(() => bundle.output().lines.length > 0, 'it reports');
    const claimed = reportOf(bundle.output());
    expect(comparable(claimed)).toEqual(comparable(cold));
    expect(claimed.hostname).toBe('wanted');
    expect(claimed.uid).toBe(1000);
    expect(statusField(claimed.status, 'NoNewPrivs')).toBe('1');
    expect(limits()).toEqual([String(64 << 20), '33']);
    expect(bundle.state()).toMatchObject({ status: 'running', pid: bundle.pid(), annotations: { label: 'wanted' } });
  });

  it('waits as a created one, and leaves nothing when nobody claims it', async () => {
    const parked = await new Parked(template(way), way).waits();
    expect(bundle.state()).toMatchObject({ status: 'created', pid: bundle.pid() });
    expect(bundle.cgroups()).not.toEqual([]);
    const pid = bundle.pid();
    expect(await parked.abandon()).toBe(1);
    expect(bundle.leftovers()).toEqual([]);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  });

  it('ends with the process that waits, and is deleted then', async () => {
    const parked = await new Parked(template(way), way).waits();
    parked.kill();
    await parked.ended();
    await eventually(() => !existsSync(`/proc/${bundle.pid()}/exe`), 'its own process is gone');
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('can be deleted while it waits', async () => {
    const parked = await new Parked(template(way), way).waits();
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(await parked.ended()).toBe(1);
    expect(bundle.leftovers()).toEqual([]);
  });

  it.each([
    ['linux.namespaces', (c: OciConfig) => c.linux.namespaces.pop()],
    ['linux.uidMappings', (c: OciConfig) => Object.assign(c.linux, { uidMappings: [{ containerID: 0, hostID: 400_000, size: 65536 }] })],
    ['linux.cgroupsPath', (c: OciConfig) => Object.assign(c.linux, { cgroupsPath: '/another' })],
    ['linux.seccomp', (c: OciConfig) => Object.assign(c.linux, { seccomp: { defaultAction: 'SCMP_ACT_ALLOW' } })],
    ['linux.maskedPaths', (c: OciConfig) => Object.assign(c.linux, { maskedPaths: [] })],
    ['process.noNewPrivileges', (c: OciConfig) => Object.assign(c.process, { noNewPrivileges: false })],
    ['hostname', (c: OciConfig) => Object.assign(c, { hostname: undefined })],
    ...(way === 'bare'
      ? []
      : ([
          ['process.capabilities', (c: OciConfig) => Object.assign(c.process, { capabilities: {} })],
          ['linux.resources', (c: OciConfig) => Object.assign(c.linux, { resources: {} })],
          ['mounts', (c: OciConfig) => c.mounts.pop()],
          ['root', (c: OciConfig) => Object.assign(c.root, { readonly: true })],
        ] as const)),
  ] as const)('refuses a claim with another %s, and runs nothing', async (field, change) => {
    const config = wanted(['report']);
    change(config);
    expect(await (await new Parked(template(way), way).waits()).claim(config)).toBe(1);
    expect(bundle.output().stderr).toContain(field);
    expect(bundle.output().stdout).toBe('');
    expect(bundle.leftovers()).toEqual([]);
  });

  it('says why the program of a claim cannot run, as a cold start does', async () => {
    const config = wanted([]);
    config.process.args = ['/missing'];
    bundle.write(config);
    const cold = bundle.runtime(['run', '--bundle', bundle.dir, bundle.id]);
    expect(await (await new Parked(template(way), way).waits()).claim(config)).toBe(1);
    expect(bundle.output().stderr).toBe(cold.stderr);
    expect(bundle.leftovers()).toEqual([]);
  });
});

it.each([
  ['namespaces', (c: OciConfig) => Object.assign(c.linux, { namespaces: [{ type: 'mount' }], uidMappings: [], gidMappings: [] })],
  ['process.terminal', (c: OciConfig) => Object.assign(c.process, { terminal: true })],
  ['hooks.startContainer', (c: OciConfig) => Object.assign(c, { hooks: { startContainer: [{ path: '/bin/true' }] } })],
] as const)('no container is parked with %s as only a known program can have it', async (field, change) => {
  const config = bundle.config([]);
  delete config.hostname;
  change(config);
  expect(await new Parked(config, 'bare').ended()).toBe(1);
  expect(bundle.output().stderr).toContain(field);
  expect(bundle.leftovers()).toEqual([]);
});

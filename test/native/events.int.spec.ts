import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, type OciConfig, runtimePath, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const MIB = 1 << 20;
const start = (ops: string[], change: (config: OciConfig) => void = () => {}): void => {
  expect(bundle.create(ops, change).stderr).toBe('');
  expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
};

describe('events', () => {
  it('print what the container uses, in the shape that engines read', () => {
    start(['wait'], (config) => {
      config.linux.resources = { memory: { limit: 64 * MIB }, pids: { limit: 50 } };
    });
    const { stdout, stderr } = bundle.runtime(['events', '--stats', bundle.id]);
    expect(stderr).toBe('');
    const event = JSON.parse(stdout);
    expect(event).toMatchObject({ type: 'stats', id: bundle.id });
    const { cpu, memory, pids, blkio } = event.data;
    expect(cpu.usage.total).toBeGreaterThan(0);
    expect(cpu.usage).toEqual(expect.objectContaining({ kernel: expect.any(Number), user: expect.any(Number) }));
    expect(cpu.throttling).toEqual({
      periods: expect.any(Number),
      throttledPeriods: expect.any(Number),
      throttledTime: expect.any(Number),
    });
    expect(memory.usage.limit).toBe(64 * MIB);
    expect(memory.usage.usage).toBeGreaterThan(0);
    expect(Object.keys(memory.raw)).toContain('pgfault');
    expect(pids).toEqual({ current: 1, limit: 50 });
    expect(blkio.ioServiceBytesRecursive).toBeInstanceOf(Array);
  });

  it('come at the interval, with each out-of-memory kill, and end with the container', async () => {
    start(['ready', 'wait'], (config) => {
      config.linux.resources = { memory: { limit: 16 * MIB, swap: 16 * MIB } };
    });
    const child = spawn(runtimePath, ['--root', bundle.stateRoot, 'events', '--interval', '100ms', bundle.id], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    const ended = new Promise((done) => child.once('close', done));
    const types = (): string[] =>
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).type);
    await eventually(() => types().length > 1, 'two statistics');
    expect(types()).not.toContain('oom');
    expect(bundle.runtime(['exec', bundle.id, '/probe', 'alloc', `${64 * MIB}`]).status).toBe(137);
    await eventually(() => types().includes('oom'), 'the kill');
    bundle.runtime(['kill', bundle.id, 'KILL']);
    expect(await ended).toBe(0);
    expect(types().filter((type) => type === 'oom')).toHaveLength(1);
  });

  it('refuse what is no interval and what has ended', async () => {
    start(['exit', '0']);
    expect(bundle.runtime(['events', '--interval', 'soon', bundle.id]).stderr).toContain('--interval "soon" is not a time');
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(bundle.runtime(['events', '--stats', bundle.id]).stderr).toContain('not running');
  });
});

describe('features', () => {
  const features = () => JSON.parse(bundle.runtime(['features']).stdout);

  it('name the specification’s versions and what is known of Linux', () => {
    const { ociVersionMin, ociVersionMax, hooks, linux } = features();
    expect(ociVersionMin).toBe('1.0.0');
    expect(ociVersionMax).toMatch(/^1\.[2-9]\.\d+$/);
    expect(hooks).toEqual(['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop']);
    expect(linux.cgroup).toEqual({ v1: true, v2: true, systemd: false, systemdUser: false, rdma: true });
    expect(linux.seccomp.enabled).toBe(true);
    expect([linux.apparmor, linux.selinux, linux.intelRdt]).toEqual([{ enabled: true }, { enabled: false }, { enabled: false }]);
  });

  it('list only namespaces that a container can have', () => {
    // Some of them the default container of these tests has already; what this kernel lacks is refused by name.
    const namespaces = (features().linux.namespaces as string[]).filter((type) => type !== 'time');
    const outcome = bundle.run(['report'], (config) => {
      config.linux.namespaces = namespaces.map((type) => ({ type }));
    });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
  });

  it('list only capabilities that a process can be given', () => {
    const all: string[] = features().linux.capabilities;
    // Names are looked up before the kernel is asked for what the runtime itself may lack.
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.process.capabilities = { permitted: all, bounding: all };
    });
    expect(outcome.stderr).not.toContain('unknown capability');
    expect(all).toHaveLength(41);
  });

  it('list only mount options that a mount takes', () => {
    const other = new Set(['bind', 'rbind', 'remount', 'tmpcopyup', 'idmap', 'ridmap']);
    const options = (features().mountOptions as string[]).filter((name) => !other.has(name));
    expect(options.length).toBeGreaterThan(40);
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.mounts.push(...options.map((name, i) => ({ destination: `/m${i}`, type: 'tmpfs', source: 'tmpfs', options: [name] })));
    });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
  });

  it('list only what a seccomp filter can be made of', () => {
    const { actions, operators, archs, supportedFlags } = features().linux.seccomp;
    const usable = (actions as string[]).filter((action) => action !== 'SCMP_ACT_NOTIFY');
    const args = (i: number) => [{ index: 0, value: 1 + i, op: operators[i % operators.length] }];
    expect(usable.length).toBeGreaterThanOrEqual(operators.length);
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.linux.seccomp = {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: archs,
        // This one belongs to the action that needs a listener.
        flags: (supportedFlags as string[]).filter((flag) => !flag.includes('WAIT_KILLABLE')),
        syscalls: usable.map((action, i) => ({ names: ['mq_unlink'], action, args: args(i) })),
      };
    });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
  });

  it('list only hooks that run', () => {
    const log = join(bundle.dir, 'hooks');
    const { hooks } = features();
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'user');
      delete config.linux.uidMappings;
      delete config.linux.gidMappings;
      config.mounts.push({ destination: '/hooks', type: 'bind', source: bundle.dir, options: ['rbind'] });
      for (const dir of ['bin', 'lib', 'lib64', 'usr'])
        config.mounts.push({ destination: `/${dir}`, type: 'bind', source: `/${dir}`, options: ['rbind', 'ro'] });
      config.hooks = Object.fromEntries(
        (hooks as string[]).map((stage) => {
          const file = stage === 'startContainer' ? '/hooks/hooks' : log;
          return [stage, [{ path: '/bin/sh', args: ['sh', '-c', `echo ${stage} >> ${file}`], env: ['PATH=/bin'] }]];
        }),
      );
    });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual(hooks);
  });
});

describe('spec', () => {
  it('writes a config.json that runs', () => {
    expect(bundle.runtime(['spec', '--bundle', bundle.dir])).toMatchObject({ status: 0, stderr: '' });
    const path = join(bundle.dir, 'config.json');
    expect(statSync(path).mode & 0o777).toBe(0o644);
    const config = JSON.parse(readFileSync(path, 'utf8'));
    expect(config.process.args).toEqual(['sh']);
    expect(bundle.runtime(['spec', '--bundle', bundle.dir]).stderr).toContain('remove it first');
    config.process.args = ['/probe', 'report'];
    config.process.terminal = false;
    config.linux.cgroupsPath = bundle.cgroupsPath;
    for (const { destination } of config.mounts as { destination: string }[]) {
      if (/^\/[a-z]+$/.test(destination)) mkdirSync(join(bundle.rootfs, destination));
    }
    bundle.write(config);
    expect(bundle.runtime(['run', '-b', bundle.dir, bundle.id])).toMatchObject({ status: 0, stderr: '' });
  });

  it('writes one for an ordinary user', () => {
    const path = join(bundle.dir, 'config.json');
    rmSync(path, { force: true });
    expect(bundle.runtime(['spec', '--rootless', '-b', bundle.dir]).status).toBe(0);
    const config = JSON.parse(readFileSync(path, 'utf8'));
    expect(config.linux.uidMappings).toEqual([{ containerID: 0, hostID: 0, size: 1 }]);
    expect((config.linux.namespaces as { type: string }[]).map(({ type }) => type)).toContain('user');
    expect(config.linux.resources).toBeUndefined();
  });
});

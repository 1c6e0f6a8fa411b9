import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HOST_BASE, type OciConfig, type Outcome, TestBundle } from './bundle.js';

const OTHER_BASE = HOST_BASE + 100_000;

let bundle: TestBundle;
let other: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
  other = new TestBundle();
});
afterEach(() => {
  other.dispose();
  bundle.dispose();
});

/** Starts a container whose program does `ops`. */
const start = (which: TestBundle, ops: string[], change: (config: OciConfig) => void = () => {}): void => {
  expect(which.create(ops, change)).toMatchObject({ status: 0, stderr: '' });
  expect(which.runtime(['start', which.id]).status).toBe(0);
};
const oks = (outcome: Outcome): Record<string, boolean> => Object.fromEntries(outcome.lines.map(({ op, ok }) => [op, ok]));

describe('another container', () => {
  const shareWith = (config: OciConfig, type: string, file: string): void => {
    const shared = config.linux.namespaces.find((namespace) => namespace.type === type);
    if (shared) shared.path = `/proc/${other.pid()}/ns/${file}`;
  };
  /** A range of ids of its own, as the agent gives each container. */
  const elsewhere = (config: OciConfig): void => {
    const map = [{ containerID: 0, hostID: OTHER_BASE, size: 65536 }];
    Object.assign(config.linux, { uidMappings: map, gidMappings: map });
  };
  const talkative = ['listen', 'berth-name', 'shm-make', '4711', 'mq-make', 'berth-queue', 'key-make', 'berth-key', 'wait'];
  const searching = ['connect', 'berth-name', 'shm-find', '4711', 'mq-find', 'berth-queue', 'key-find', 'berth-key'];
  const run = (ops: string[], base: number, change: (config: OciConfig) => void): Record<string, boolean> => {
    const config = bundle.config(ops);
    change(config);
    bundle.write(config);
    spawnSync('chown', ['-R', `${base}:${base}`, bundle.rootfs]);
    const outcome = bundle.runtime(['run', '-b', bundle.dir, bundle.id]);
    expect(outcome.stderr).toBe('');
    return oks(outcome);
  };

  it('cannot be heard by abstract sockets, SysV and POSIX IPC or keyrings', () => {
    start(other, talkative);
    expect(run(searching, OTHER_BASE, elsewhere)).toEqual({ connect: false, 'shm-find': false, 'mq-find': false, 'key-find': false });
  });

  it('could be in shared namespaces', () => {
    start(other, talkative);
    const found = run(searching, HOST_BASE, (config) => {
      for (const [type, file] of [
        ['network', 'net'],
        ['ipc', 'ipc'],
        ['user', 'user'],
      ] as const)
        shareWith(config, type, file);
      for (const key of ['uidMappings', 'gidMappings']) delete config.linux[key];
    });
    expect(found).toEqual({ connect: true, 'shm-find': true, 'mq-find': true, 'key-find': true });
  });

  it('cannot be traced, read or signalled, even where its processes are in sight', () => {
    start(other, ['wait']);
    const found = run(['reach', '1'], OTHER_BASE, (config) => {
      elsewhere(config);
      shareWith(config, 'pid', 'pid');
      // The user namespace that owns the shared one is not this one.
      config.mounts = config.mounts.filter(({ type }) => type !== 'proc');
      config.mounts.push({ destination: '/proc', type: 'bind', source: '/proc', options: ['rbind', 'ro'] });
      config.linux.maskedPaths = [];
      config.linux.readonlyPaths = [];
    });
    expect(found).toMatchObject({ vm: false, kill: false, ptrace: false });
  });

  it('could be by one in its user namespace', () => {
    start(other, ['wait']);
    const found = run(['reach', '1'], HOST_BASE, (config) => {
      for (const [type, file] of [
        ['pid', 'pid'],
        ['user', 'user'],
      ] as const)
        shareWith(config, type, file);
      for (const key of ['uidMappings', 'gidMappings']) delete config.linux[key];
      config.process.capabilities = {
        bounding: ['CAP_SYS_PTRACE', 'CAP_KILL'],
        effective: ['CAP_SYS_PTRACE', 'CAP_KILL'],
        permitted: ['CAP_SYS_PTRACE', 'CAP_KILL'],
      };
    });
    expect(found).toMatchObject({ root: true, mem: true, vm: true, kill: true, ptrace: true });
  });
});

describe('the default seccomp profile', () => {
  const CLONE_NEWUSER = '0x10000000';
  const ops = ['unshare', CLONE_NEWUSER, 'key-make', 'x'];
  it('bars nested namespaces and keyrings', () => {
    const outcome = bundle.run(ops, (config) => {
      config.linux.seccomp = JSON.parse(readFileSync('native/seccomp/default.json', 'utf8'));
    });
    expect(outcome.lines.map(({ ok }) => ok)).toEqual([false, false]);
  });

  it('is what bars them', () => {
    expect(bundle.run(ops).lines.map(({ ok }) => ok)).toEqual([true, true]);
  });
});

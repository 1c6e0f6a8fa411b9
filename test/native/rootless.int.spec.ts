import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hierarchies, type OciConfig, type Outcome, type ProbeLine, reportOf, runtimePath, TestBundle } from './bundle.js';

/** An ordinary user of this test's own, known to the host with a range of subordinate ids. */
const user = { name: `berth-rl-${process.pid}`, id: 21_000 + (process.pid % 9000), sub: 400_000 };
const files = {
  '/etc/passwd': `${user.name}:x:${user.id}:${user.id}::/nonexistent:/bin/sh\n`,
  '/etc/subuid': `${user.name}:${user.sub}:65536\n`,
  '/etc/subgid': `${user.name}:${user.sub}:65536\n`,
};
const hasMappers = existsSync('/usr/bin/newuidmap');
const unified = hierarchies().find(({ v2 }) => v2);

let bundle: TestBundle;
let runDir: string;
let runtime: string;
beforeAll(() => {
  for (const [path, line] of Object.entries(files)) appendFileSync(path, line);
});
afterAll(() => {
  for (const [path, line] of Object.entries(files)) writeFileSync(path, readFileSync(path, 'utf8').replace(line, ''));
});
beforeEach(() => {
  bundle = new TestBundle();
  runDir = join(bundle.dir, 'run');
  runtime = join(bundle.dir, 'berth-runtime');
  mkdirSync(runDir, { mode: 0o700 });
  copyFileSync(runtimePath, runtime);
  chmodSync(runtime, 0o755);
  bundle.own(user.id);
  for (const path of [bundle.dir, runDir]) chownSync(path, user.id, user.id);
});
afterEach(() => {
  as(['delete', '--force', bundle.id]);
  bundle.dispose();
});

/** The runtime, run by the user; `enter` is a cgroup to start it in. */
function as(args: string[], enter = ''): Outcome {
  const script = `${enter ? `echo $$ > '${enter}/cgroup.procs';` : ''} exec setpriv --reuid ${user.id} --regid ${user.id} --clear-groups "$@"`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, 'sh', runtime, ...args], {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', XDG_RUNTIME_DIR: runDir },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 25_000,
  });
  const lines = stdout
    .split('\n')
    .filter((line) => line.startsWith('{"op"') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as ProbeLine);
  return { status, stdout, stderr, lines };
}

const ownId = [{ containerID: 0, hostID: user.id, size: 1 }];
const ranges = [...ownId, { containerID: 1, hostID: user.sub, size: 65536 }];

function write(ops: string[], change: (config: OciConfig) => void = () => {}): void {
  const config = bundle.config(ops);
  Object.assign(config.linux, { uidMappings: ranges, gidMappings: ranges, cgroupsPath: '' });
  change(config);
  bundle.write(config);
}

const onlyOwnId = (config: OciConfig): void => {
  Object.assign(config.linux, { uidMappings: ownId, gidMappings: ownId });
  for (const mount of config.mounts) mount.options = (mount.options ?? []).filter((option) => option !== 'gid=5');
};

describe('an ordinary user', () => {
  it.skipIf(!hasMappers)('runs a bundle with every namespace, as its root, with subordinate ids from newuidmap', () => {
    write([
      'report',
      'create',
      '/made',
      'x',
      'chown',
      '/made',
      '7',
      'stat',
      '/made',
      'ls',
      '/dev',
      'write',
      '/dev/null',
      'x',
      'setuid',
      '1000',
    ]);
    const outcome = as(['run', '-b', bundle.dir, bundle.id]);
    expect(outcome.stderr).toBe('');
    const report = reportOf(outcome);
    expect(report).toMatchObject({ uid: 0, gid: 0, pid: 1, hostname: 'box', groups: [] });
    expect(report.uid_map.trim().split(/\s+/)).toEqual(['0', `${user.id}`, '1', '1', `${user.sub}`, '65536']);
    expect(outcome.lines.slice(1).map(({ ok }) => ok)).toEqual([true, true, true, true, true, true]);
    expect(outcome.lines[3]).toMatchObject({ uid: 7 });
    expect(readdirSync(join(runDir, 'berth'))).toEqual([]);
  });

  it('needs no newuidmap for the own id alone', () => {
    write(['report', 'create', '/made', 'x', 'setuid', '1'], onlyOwnId);
    const outcome = as(['run', '-b', bundle.dir, bundle.id]);
    expect(outcome.stderr).toBe('');
    expect(reportOf(outcome).uid_map.trim().split(/\s+/)).toEqual(['0', `${user.id}`, '1']);
    expect(outcome.lines.slice(1).map(({ ok }) => ok)).toEqual([true, false]);
  });

  it('creates, starts, enters, signals and deletes, with no cgroup where none is delegated', () => {
    write(['wait'], onlyOwnId);
    const pidFile = join(bundle.dir, 'pid');
    const script = `setpriv --reuid ${user.id} --regid ${user.id} --clear-groups '${runtime}' create -b '${bundle.dir}' --pid-file '${pidFile}' ${bundle.id} >'${bundle.dir}/out' 2>&1`;
    expect(spawnSync('sh', ['-c', script], { env: { PATH: '/usr/bin:/bin', XDG_RUNTIME_DIR: runDir }, stdio: 'ignore' }).status).toBe(0);
    expect(as(['start', bundle.id]).stderr).toBe('');
    const inside = as(['exec', bundle.id, '/probe', 'report']);
    expect(reportOf(inside)).toMatchObject({ uid: 0, hostname: 'box' });
    writeFileSync(join(bundle.dir, 'process.json'), JSON.stringify(bundle.config(['exit', '9']).process));
    expect(as(['exec', '--process', join(bundle.dir, 'process.json'), bundle.id])).toMatchObject({ status: 9, stderr: '' });
    expect(as(['pause', bundle.id]).stderr).toContain('is in no cgroup of its own');
    expect(as(['kill', bundle.id, 'KILL']).status).toBe(0);
    expect(as(['delete', '--force', bundle.id])).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(join(runDir, 'berth'))).toEqual([]);
  });

  it('runs a bundle as root of a user namespace that is there already, as within podman', () => {
    write(['ls', '/dev', 'write', '/dev/null', 'x'], (config) => {
      onlyOwnId(config);
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'user');
      delete config.linux.uidMappings;
      delete config.linux.gidMappings;
    });
    const nested = [
      '--reuid',
      `${user.id}`,
      '--regid',
      `${user.id}`,
      '--clear-groups',
      'unshare',
      '--user',
      '--map-root-user',
      '--mount',
      runtime,
    ];
    const { status, stderr, stdout } = spawnSync(
      'setpriv',
      [...nested, '--root', join(runDir, 'berth'), 'run', '-b', bundle.dir, bundle.id],
      {
        encoding: 'utf8',
      },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain('"urandom"');
    expect(readdirSync(join(runDir, 'berth'))).toEqual([]);
  });

  it('has the host’s /sys, read-only, in the host’s network', () => {
    write(['ls', '/sys', 'create', '/sys/x', 'x'], (config) => {
      onlyOwnId(config);
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'network');
      config.mounts = config.mounts.filter(({ type }) => type !== 'cgroup');
    });
    const outcome = as(['run', '-b', bundle.dir, bundle.id]);
    expect(outcome.lines[0]?.names).toContain('class');
    expect(outcome.lines[1]).toMatchObject({ error: 'EROFS' });
  });

  it('protects a runtime that is the user’s own from the container', () => {
    chownSync(runtime, user.id, user.id);
    const before = readFileSync(runtime);
    write(['report', 'write', '/proc/1/exe', 'x'], onlyOwnId);
    writeFileSync(join(bundle.rootfs, 'script'), '#!/proc/self/exe\n');
    const outcome = as(['run', '-b', bundle.dir, bundle.id]);
    expect(reportOf(outcome).uid).toBe(0);
    expect(readFileSync(runtime).equals(before)).toBe(true);
    const created = `exec setpriv --reuid ${user.id} --regid ${user.id} --clear-groups '${runtime}' create -b '${bundle.dir}' --pid-file '${bundle.dir}/pid' ${bundle.id} >'${bundle.dir}/out' 2>&1`;
    expect(spawnSync('sh', ['-c', created], { env: { PATH: '/usr/bin:/bin', XDG_RUNTIME_DIR: runDir }, stdio: 'ignore' }).status).toBe(0);
    // What waits for `start` runs from a sealed copy, which nobody can write to even when it no longer runs.
    const kept = openSync(`/proc/${readFileSync(join(bundle.dir, 'pid'), 'utf8')}/exe`, 'r');
    expect(as(['delete', '--force', bundle.id]).status).toBe(0);
    const copy = openSync(`/proc/self/fd/${kept}`, 'r+');
    expect(() => writeSync(copy, 'x')).toThrow('EPERM');
    for (const fd of [kept, copy]) closeSync(fd);
    expect(readFileSync(runtime).equals(before)).toBe(true);
  });

  it.each<[string, (config: OciConfig) => void, string]>([
    ['limits without a delegated cgroup', ({ linux }) => (linux.resources = { pids: { limit: 5 } }), 'no cgroup is delegated to this user'],
    ['ids of others', ({ linux }) => (linux.uidMappings = [...ownId, { containerID: 1, hostID: 0, size: 1 }]), 'newuidmap'],
    ['no map of the own id', ({ linux }) => (linux.uidMappings = [{ containerID: 0, hostID: 5, size: 1 }]), 'must map the user'],
    [
      'groups that cannot be taken on',
      ({ process }) => (process.user = { uid: 0, gid: 0, additionalGids: [5] }),
      'additionalGids need gidMappings',
    ],
    [
      'no user namespace',
      ({ linux }) => {
        linux.namespaces = linux.namespaces.filter(({ type }) => type !== 'user');
        delete linux.uidMappings;
        delete linux.gidMappings;
      },
      'needs a user namespace of its own',
    ],
  ])('is refused %s', (_, change, message) => {
    write(['exit', '0'], (config) => {
      onlyOwnId(config);
      change(config);
    });
    expect(as(['run', '-b', bundle.dir, bundle.id]).stderr).toContain(message);
    expect(existsSync(join(runDir, 'berth')) ? readdirSync(join(runDir, 'berth')) : []).toEqual([]);
  });

  it.skipIf(!unified)('has the container below a cgroup that is delegated, limits included', () => {
    const mount = unified?.mount ?? '';
    const delegated = join(mount, `berth-deleg-${process.pid}`);
    const shell = join(delegated, 'shell');
    const limited = unified?.controllers.includes('pids') ?? false;
    if (limited) writeFileSync(join(mount, 'cgroup.subtree_control'), '+pids');
    mkdirSync(delegated);
    mkdirSync(shell);
    for (const dir of [delegated, shell]) {
      for (const name of ['', 'cgroup.procs', 'cgroup.subtree_control', 'cgroup.threads']) chownSync(join(dir, name), user.id, user.id);
    }
    try {
      write(['report', 'fork', '20'], (config) => {
        onlyOwnId(config);
        config.linux.cgroupsPath = '/mine/box';
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'cgroup');
        config.mounts = config.mounts.filter(({ type }) => type !== 'cgroup');
        if (limited) config.linux.resources = { pids: { limit: 8 } };
      });
      const outcome = as(['run', '-b', bundle.dir, bundle.id], shell);
      expect(outcome.stderr).toBe('');
      expect(reportOf(outcome).cgroup).toContain(`0::/berth-deleg-${process.pid}/mine/box`);
      expect(outcome.lines[1]).toMatchObject(limited ? { ok: false, count: 7 } : { ok: true });
      expect(existsSync(join(delegated, 'mine/box'))).toBe(false);
    } finally {
      for (const dir of [join(delegated, 'mine'), shell, delegated]) if (existsSync(dir)) rmdirSync(dir);
    }
  });
});

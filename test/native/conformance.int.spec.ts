import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, eventually, hierarchies, type OciConfig, reportOf, runtimePath, statusField, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

describe('an old seccomp list without no_new_privs', () => {
  const barred = ['openat2', 'setresuid', 'setresgid', 'setgroups', 'fchdir', 'getcwd', 'stat', 'faccessat', 'umask'];
  const old = (config: OciConfig): void => {
    config.process.noNewPrivileges = false;
    config.process.user = { uid: 7, gid: 8 };
    config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: barred, action: 'SCMP_ACT_ERRNO' }] };
  };

  it('bars the program and none of the runtime’s own work', () => {
    const outcome = bundle.run(['chdir', '/', 'setuid', '7', 'exit', '5'], old);
    expect(outcome.stderr).toBe('');
    expect(outcome.status).toBe(5);
  });

  it('leaves no capability behind that loaded it', () => {
    const { status } = reportOf(
      bundle.run(['report'], (config) => {
        old(config);
        config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW' };
        config.process.capabilities = { bounding: ['CAP_SYS_ADMIN'] };
      }),
    );
    expect(['CapPrm', 'CapEff', 'CapInh', 'CapAmb'].map((set) => BigInt(`0x${statusField(status, set)}`))).toEqual([0n, 0n, 0n, 0n]);
  });
});

describe('sockets of a service manager', () => {
  const listen = (env: NodeJS.ProcessEnv) => {
    bundle.write(bundle.config(['report']));
    return reportOf(bundle.runtime(['run', '--bundle', bundle.dir, bundle.id], { env: { ...process.env, ...env } }));
  };

  it('are announced to the program as its own', () => {
    expect(listen({ LISTEN_FDS: '1' }).env).toEqual(expect.arrayContaining(['LISTEN_FDS=1', 'LISTEN_PID=1']));
  });

  it.each([{ LISTEN_FDS: '1', LISTEN_PID: '1' }, { LISTEN_FDS: '-1' }, { LISTEN_FDS: '99999' }, {}])(
    'are not when they are another’s: %o',
    (env) => {
      expect(listen(env).env.filter((entry) => entry.startsWith('LISTEN'))).toEqual([]);
    },
  );
});

it('sets the limits of another user’s process too', () => {
  const outcome = bundle.create(['report'], (config) => {
    config.process.user = { uid: 7, gid: 8 };
    config.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 64, hard: 128 }];
  });
  expect(outcome.status, outcome.stderr).toBe(0);
});

it('starts a relative cgroupsPath below its own cgroup', () => {
  const outcome = bundle.run(['report'], (config) => {
    config.linux.cgroupsPath = `relative-${bundle.id}`;
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'cgroup');
  });
  expect(reportOf(outcome).cgroup).toContain(`/berth/relative-${bundle.id}`);
});

/** Older kernels clone nothing from a mount that is not attached. */
const [major = 0, minor = 0] = release().split('.').map(Number);
const clonesDetached = major > 6 || (major === 6 && minor >= 15);

it.skipIf(clonesDetached)('binds the host’s equal node for a device in a user namespace of an older kernel', () => {
  const outcome = bundle.run(['stat', '/dev/full'], (config) => {
    config.linux.devices = [{ path: '/dev/full', type: 'c', major: 1, minor: 7, fileMode: 0o600 }];
  });
  expect(outcome.stderr).toBe('');
  expect(outcome.lines[0]).toMatchObject({ mode: 0o020666, major: 1, minor: 7 });
});

it.skipIf(!clonesDetached)('makes devices with the owner and mode of the config in a user namespace, too', () => {
  const outcome = bundle.run(['stat', '/dev/extra/zero', 'read', '/dev/extra/zero', 'read', '/dev/other'], (config) => {
    config.process.user = { uid: 7, gid: 8 };
    config.linux.devices = [
      { path: '/dev/extra/zero/', type: 'c', major: 1, minor: 5, fileMode: 0o600, uid: 7, gid: 8 },
      { path: '/dev/other', type: 'c', major: 1, minor: 5, fileMode: 0o600 },
    ];
    config.linux.resources = {};
  });
  expect(outcome.lines[0]).toMatchObject({ mode: 0o020600, uid: 7, gid: 8, major: 1, minor: 5 });
  expect(outcome.lines[1]).toMatchObject({ ok: true });
  expect(outcome.lines[2]).toMatchObject({ ok: false, error: 'EACCES' });
});

it('makes a device that the rules bar from use', () => {
  const outcome = bundle.run(['stat', '/dev/mine', 'read', '/dev/mine'], (config) => {
    asHostRoot(config);
    config.linux.devices = [{ path: '/dev/mine', type: 'c', major: 1, minor: 11 }];
    config.linux.resources = { devices: [{ allow: false, access: 'rwm' }] };
  });
  expect(outcome.lines.map(({ ok, error }) => [ok, error])).toEqual([
    [true, undefined],
    [false, 'EPERM'],
  ]);
});

it('passes over a file system’s settings on a bind mount, and says so', () => {
  const outcome = bundle.run(['exit', '0'], (config) => {
    config.mounts.push({ destination: '/m', type: 'bind', source: bundle.makeDir('from'), options: ['bind', 'mode=755'] });
  });
  expect(outcome.status).toBe(0);
  expect(outcome.stderr).toContain('bind mount at /m: option mode=755 has no effect');
});

it('takes a kernel memory limit that memory.limit keeps already', () => {
  const outcome = bundle.run(['exit', '0'], (config) => {
    config.linux.resources = { memory: { limit: 64 << 20, kernel: 64 << 20 } };
  });
  expect(outcome.status, outcome.stderr).toBe(0);
});

it('maps every id there is', () => {
  const all = [{ containerID: 0, hostID: 0, size: 4294967295 }];
  const outcome = bundle.run(['report'], (config) => {
    Object.assign(config.linux, { uidMappings: all, gidMappings: all });
  });
  expect(reportOf(outcome).uid_map.trim().split(/\s+/)).toEqual(['0', '0', '4294967295']);
});

it('reads its config under another name', () => {
  const config = bundle.config(['exit', '6']);
  writeFileSync(join(bundle.dir, 'other.json'), JSON.stringify(config));
  const run = ['run', '--bundle', bundle.dir, '--config', 'other.json', bundle.id];
  expect(bundle.runtime(run, { globals: ['--cgroup-manager', 'cgroupfs'] }).status).toBe(6);
  expect(bundle.runtime(run, { globals: ['--cgroup-manager', 'systemd'] }).stderr).toContain('cgroups are made here by file');
});

describe('a mount label', () => {
  /** Runs a container with a label on a kernel that seems to know the given file systems. */
  const runWith = (filesystems: string): { status: number | null; stderr: string } => {
    const config = bundle.config(['exit', '5']);
    config.linux.mountLabel = 'a:b:c';
    // A user namespace gets no new proc where the one in sight is partly covered.
    asHostRoot(config);
    bundle.write(config);
    const file = join(bundle.dir, 'filesystems');
    writeFileSync(file, filesystems);
    const script = `mount --bind "$4" /proc/filesystems && "$0" --root "$1" run --bundle "$2" "$3"`;
    return spawnSync('unshare', ['-m', 'sh', '-c', script, runtimePath, bundle.stateRoot, bundle.dir, bundle.id, file], {
      encoding: 'utf8',
    });
  };

  it('is passed over with a warning where the kernel runs no SELinux', () => {
    const { status, stderr } = runWith('nodev\tproc\n\text4\n');
    expect(stderr).toContain('linux.mountLabel has no effect: this kernel runs no SELinux');
    expect(status).toBe(5);
  });

  it('is refused where it runs one: no mount here is ever labelled', () => {
    const { status, stderr } = runWith('nodev\tproc\nnodev\tselinuxfs\n');
    expect(stderr).toContain('linux.mountLabel is not supported where SELinux is on');
    expect(status).toBe(1);
  });
});

describe('a container without a process', () => {
  const without = (command: string) => {
    const { process: _, ...config } = bundle.config([]);
    bundle.write(config);
    return bundle.runtime([command, '--bundle', bundle.dir, bundle.id]);
  };

  it('can be created, and stops with an error when it is started', async () => {
    expect(without('create')).toMatchObject({ status: 0, stderr: '' });
    expect(bundle.state().status).toBe('created');
    expect(bundle.runtime(['start', bundle.id])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no process to start'),
    });
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(bundle.runtime(['delete', bundle.id]).status).toBe(0);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('cannot be run', () => {
    expect(without('run')).toMatchObject({ status: 1, stderr: expect.stringContaining('there is no process to start') });
    expect(bundle.leftovers()).toEqual([]);
  });
});

it('keeps the groups of whoever runs it, where the config says so', () => {
  const report = (annotations: Record<string, string>) => {
    const config = { ...bundle.config(['report']), annotations };
    asHostRoot(config);
    bundle.write(config);
    const { stdout } = spawnSync(
      'setpriv',
      ['--groups', '4,5', runtimePath, '--root', bundle.stateRoot, 'run', '--bundle', bundle.dir, bundle.id],
      {
        encoding: 'utf8',
      },
    );
    return (JSON.parse(stdout) as { groups: number[] }).groups;
  };
  expect(report({ 'run.oci.keep_original_groups': '1' })).toEqual([4, 5]);
  expect(report({ 'run.oci.keep_original_groups': '0' })).toEqual([]);
  expect(JSON.parse(bundle.runtime(['features']).stdout).potentiallyUnsafeConfigAnnotations).toEqual(['run.oci.keep_original_groups']);
});

it('gives an exec all but the capability that nobody knows', () => {
  bundle.create(['wait']);
  bundle.runtime(['start', bundle.id]);
  const outcome = bundle.runtime(['exec', '--cap', 'CAP_FLY', '--cap', 'CAP_SYS_NICE', bundle.id, '/probe', 'report']);
  expect(outcome.stderr).toContain('--cap CAP_FLY is unknown and is not given');
  expect(BigInt(`0x${statusField(reportOf(outcome).status, 'CapEff')}`) & (1n << 23n)).toBe(1n << 23n);
});

describe('delete --regex', () => {
  it('deletes all whose id matches and no other, and says what it could not delete', () => {
    const ids = ['a1', 'a2', 'b1'].map((name) => `${name}-${bundle.id}`);
    const root = ['--root', join(bundle.dir, 'several')];
    const run = (args: string[]) => bundle.runtime(args, { globals: root });
    for (const id of ids) {
      const config = bundle.config(['wait']);
      config.linux.cgroupsPath += id;
      bundle.write(config);
      expect(run(['run', '-d', '--bundle', bundle.dir, id]).status).toBe(0);
    }
    const listed = () => run(['list', '-q']).stdout.trim().split('\n');
    expect(run(['delete', '--regex', '^a[12]'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('2 containers that match ^a[12] were not deleted'),
    });
    expect(listed()).toEqual(ids);
    expect(run(['delete', '--force', '--regex', '^a[12]'])).toMatchObject({ status: 0, stderr: '' });
    expect(listed()).toEqual([ids[2]]);
    expect(run(['delete', '--regex', 'a['])).toMatchObject({ status: 1, stderr: expect.stringContaining('delete --regex a[: ') });
    expect(run(['delete', '--force', ids[2] ?? '']).status).toBe(0);
  });
});

const freezer = hierarchies().find(({ v2, controllers }) => !v2 && controllers.includes('freezer'));
// On v2 a killed process leaves a frozen cgroup by itself.
it.skipIf(!freezer)('deletes a container whose process somebody has moved into a frozen cgroup of theirs, which stays as it is', () => {
  const theirs = join(freezer?.mount ?? '', `berth-frozen-${process.pid}`);
  bundle.create(['wait']);
  bundle.runtime(['start', bundle.id]);
  mkdirSync(theirs);
  try {
    writeFileSync(join(theirs, 'tasks'), String(bundle.pid()));
    writeFileSync(join(theirs, 'freezer.state'), 'FROZEN');
    expect(bundle.runtime(['delete', '--force', bundle.id])).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(theirs, 'freezer.state'), 'utf8')).toBe('FROZEN\n');
    expect(bundle.leftovers()).toEqual([]);
  } finally {
    writeFileSync(join(theirs, 'freezer.state'), 'THAWED');
    rmdirSync(theirs);
  }
});

it('deletes what is dying already', () => {
  bundle.create(['sleep', '60']);
  bundle.runtime(['start', bundle.id]);
  bundle.runtime(['kill', bundle.id, 'KILL']);
  expect(bundle.runtime(['delete', bundle.id])).toMatchObject({ status: 0, stderr: '' });
  expect(bundle.leftovers()).toEqual([]);
});

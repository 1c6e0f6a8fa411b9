import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, type OciConfig, reportOf, statusField, TestBundle } from './bundle.js';

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

it('deletes what is dying already', () => {
  bundle.create(['sleep', '60']);
  bundle.runtime(['start', bundle.id]);
  bundle.runtime(['kill', bundle.id, 'KILL']);
  expect(bundle.runtime(['delete', bundle.id])).toMatchObject({ status: 0, stderr: '' });
  expect(bundle.leftovers()).toEqual([]);
});

import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, eventually, isSanitized, nativeDir, type OciConfig, reportOf, runtimePath, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const users = [
  ['in a user namespace', () => {}],
  ['as the host’s root', asHostRoot],
] as const;

describe('an image’s symbolic links', () => {
  it.each(['/proc', '/sys', '/dev'])('at %s are refused', (path) => {
    symlinkSync('/elsewhere', join(bundle.rootfs, path));
    const outcome = bundle.run(['exit', '0']);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain(`mount point ${path} is a symbolic link in the image`);
    expect(bundle.leftovers()).toEqual([]);
  });

  it.each(users)('that lead out of the root lead nowhere else as mount targets %s', (_, change) => {
    const outside = join(bundle.dir, 'outside');
    mkdirSync(outside, { mode: 0o777 });
    bundle.makeDir('deep');
    symlinkSync(outside, join(bundle.rootfs, 'absolute'));
    symlinkSync(`../../../../../../../..${outside}`, join(bundle.rootfs, 'deep/relative'));
    bundle.own();
    const outcome = bundle.run(['ls', '/absolute', 'ls', '/deep/relative'], (config) => {
      change(config);
      for (const destination of ['/absolute/x', '/deep/relative/y']) {
        config.mounts.push({ destination, type: 'tmpfs', source: 'tmpfs' });
      }
    });
    // A dangling link leads to the same path inside; nothing is ever made at its host path.
    expect(readdirSync(outside)).toEqual([]);
    expect(outcome.stderr).toBe('');
    expect(readdirSync(join(bundle.rootfs, outside)).sort()).toEqual(['x', 'y']);
  });

  it.each(users)('are followed inside the root, as the container itself would %s', (_, change) => {
    bundle.makeDir('real');
    symlinkSync('/real', join(bundle.rootfs, 'link'));
    const outcome = bundle.run(['create', '/link/sub/f', 'x', 'read', '/real/sub/f', 'report'], (config) => {
      change(config);
      config.mounts.push({ destination: '/link/sub', type: 'tmpfs', source: 'tmpfs' });
    });
    expect(outcome.lines[1]).toMatchObject({ ok: true, text: 'x' });
    expect(reportOf(outcome).mountinfo).toContain(' /real/sub ');
    expect(readdirSync(join(bundle.rootfs, 'real/sub'))).toEqual([]);
  });

  it('at the target of a file’s bind mount stay inside', () => {
    const victim = join(bundle.dir, 'victim');
    writeFileSync(victim, 'host');
    symlinkSync(victim, join(bundle.rootfs, 'file'));
    const outcome = bundle.run(['read', '/file'], (config) => {
      asHostRoot(config);
      config.mounts.push({ destination: '/file', type: 'bind', source: '/proc/version', options: ['bind', 'ro'] });
    });
    expect(String(outcome.lines[0]?.text)).toContain('Linux');
    expect(readFileSync(victim, 'utf8')).toBe('host');
  });

  it('in place of a masked path’s parent hide nothing else’s content from the check', () => {
    bundle.makeDir('secret');
    writeFileSync(join(bundle.rootfs, 'secret/key'), 'hidden');
    symlinkSync('secret', join(bundle.rootfs, 'alias'));
    const outcome = bundle.run(['read', '/secret/key', 'read', '/alias/key'], (config) => {
      (config.linux.maskedPaths as string[]).push('/alias/key');
    });
    expect(outcome.lines.map(({ text }) => text)).toEqual(['', '']);
  });

  it('as the root file system itself stay the bundle’s affair: it is opened once, by the host', () => {
    rmSync(bundle.rootfs, { recursive: true });
    symlinkSync('/nowhere', bundle.rootfs);
    const outcome = bundle.run(['exit', '0']);
    expect(outcome.stderr).toContain('open rootfs to mount it');
  });
});

describe('a working directory', () => {
  it.each([3, 4, 5, 6, 7, 8, 9, 10])('of /proc/self/fd/%i leads nowhere', (fd) => {
    for (const [, change] of users) {
      const outcome = bundle.run(['report', 'ls', '.'], (config) => {
        change(config);
        config.process.cwd = `/proc/self/fd/${fd}`;
      });
      expect(outcome.status).toBe(1);
      expect(outcome.stderr).toContain('enter the working directory');
    }
  });

  it('that is a link to one of them leads nowhere either', () => {
    for (let fd = 3; fd < 12; fd++) {
      symlinkSync(`/proc/self/fd/${fd}`, join(bundle.rootfs, `w${fd}`));
      const outcome = bundle.run(['report'], (config) => {
        asHostRoot(config);
        config.process.cwd = `/w${fd}`;
      });
      expect(outcome.status).toBe(1);
    }
  });
});

describe('the runtime’s own file', () => {
  const bytesNow = (): Buffer => readFileSync(runtimePath);
  /** A program that opens /proc/self/exe for writing by way of a shebang is what CVE-2019-5736 comes down to. */
  const script = (interpreter: string): void => {
    writeFileSync(join(bundle.rootfs, 'entry'), `#!${interpreter}\n`, { mode: 0o755 });
  };

  it.each(users)('cannot be written by a container that runs it through /proc/self/exe %s', (_, change) => {
    const bytes = bytesNow();
    script('/proc/self/exe');
    bundle.own();
    const outcome = bundle.run([], (config) => {
      change(config);
      config.process.args = ['/proc/self/exe', '--version'];
    });
    if (isSanitized) expect(outcome.stderr).toMatch(/no such file or directory/i);
    else expect(outcome.stdout).toContain('berth-runtime');
    expect(bytesNow().equals(bytes)).toBe(true);
  });

  it('cannot be opened by the container’s root while init waits', () => {
    bundle.create(['wait']);
    const { stderr } = spawnSync(
      'nsenter',
      ['-t', `${bundle.pid()}`, '--user', '-S', '0', '-G', '0', 'sh', '-c', `exec 3</proc/${bundle.pid()}/exe`],
      {
        encoding: 'utf8',
      },
    );
    expect(stderr).toContain('Permission denied');
  });

  /** What the attack does: keeps a descriptor of a program that runs, and writes once it runs no more. */
  const attack = (pid: string, end: string): { stderr: string; status: number | null } =>
    spawnSync('sh', ['-c', `exec 3</proc/${pid}/exe; ${end}; exec 4>>/proc/self/fd/3 && echo overwritten >&4`], { encoding: 'utf8' });

  it('cannot be written afterwards by one who kept it open, even as the host’s root', () => {
    const copy = join(bundle.dir, 'berth-runtime');
    copyFileSync(runtimePath, copy);
    bundle.runtimeFile = copy;
    bundle.create(['wait'], asHostRoot);
    const { stderr } = attack(`${bundle.pid()}`, `${copy} --root ${bundle.stateRoot} delete --force ${bundle.id}`);
    expect(stderr).toContain('Read-only file system');
    expect(readFileSync(copy).equals(bytesNow())).toBe(true);
  });

  it('could be, were it not for the read-only mount: another program’s file is', () => {
    const copy = join(bundle.dir, 'probe-copy');
    copyFileSync(join(nativeDir, 'berth-probe'), copy);
    const program = spawn(copy, ['sleep', '20000'], { stdio: 'ignore' });
    expect(attack(`${program.pid}`, `kill ${program.pid}; sleep 0.2`).status).toBe(0);
    expect(readFileSync(copy, 'latin1').endsWith('overwritten\n')).toBe(true);
  });
});

describe('the host’s side', () => {
  it('cannot be reached by chroot, mounts or new namespaces from inside', () => {
    const outcome = bundle.run(
      ['mount', '/sys', 'unshare', '0x20000', 'mkdir', '/jail', 'chroot', '/jail', 'chdir', '../../../../..', 'ls', '.'],
      (config) => {
        config.process.capabilities = { bounding: ['CAP_SYS_CHROOT'], effective: ['CAP_SYS_CHROOT'], permitted: ['CAP_SYS_CHROOT'] };
      },
    );
    expect(outcome.lines.slice(0, 2).map(({ error }) => error)).toEqual(['EPERM', 'EPERM']);
    expect(outcome.lines.at(-1)?.names).toContain('probe');
    expect(outcome.lines.at(-1)?.names).not.toContain('etc');
  });

  it('is not traceable through the waiting init, not even by one with the same ids and capabilities', () => {
    bundle.create(['wait'], (config) => {
      asHostRoot(config);
      config.process.capabilities = {};
    });
    const look = (): number | null =>
      spawnSync('setpriv', ['--bounding-set=-all', '--inh-caps=-all', 'readlink', `/proc/${bundle.pid()}/exe`]).status;
    expect(look()).not.toBe(0);
    // The program itself may be looked at.
    bundle.runtime(['start', bundle.id]);
    expect(look()).toBe(0);
  });
});

describe('a config', () => {
  const refused: [string, (config: OciConfig) => void, string][] = [
    ['an unknown namespace', (c) => c.linux.namespaces.push({ type: 'space' }), 'namespace space is not supported'],
    ['a namespace twice', (c) => c.linux.namespaces.push({ type: 'pid' }), 'namespace pid is given twice'],
    ['no mount namespace', (c) => c.linux.namespaces.splice(4, 1), 'needs a mount namespace'],
    ['an SELinux label', (c) => Object.assign(c.process, { selinuxLabel: 'a:b:c' }), 'process.selinuxLabel is not supported'],
    ['an AppArmor profile', (c) => Object.assign(c.process, { apparmorProfile: 'x' }), 'process.apparmorProfile x is not '],
    ['Intel RDT', (c) => Object.assign(c.linux, { intelRdt: { closID: 'x' } }), 'linux.intelRdt is not supported'],
    ['an unknown personality', (c) => Object.assign(c.linux, { personality: { domain: 'BSD' } }), 'must be LINUX or LINUX32, not "BSD"'],
    ['no maps for a user namespace', (c) => Object.assign(c.linux, { uidMappings: [] }), 'needs uidMappings and gidMappings'],
    ['maps that wrap', (c) => Object.assign(c.linux, { uidMappings: [{ containerID: 4294967290, hostID: 0, size: 100 }] }), 'out of range'],
    ['negative maps', (c) => Object.assign(c.linux, { uidMappings: [{ containerID: 0, hostID: -1, size: 1 }] }), 'uidMappings needs'],
    ['a host name for the host', (c) => c.linux.namespaces.splice(3, 1), 'hostname needs a uts namespace'],
    ['no args', (c) => Object.assign(c.process, { args: [] }), 'process.args must name a program'],
    ['a relative cwd', (c) => Object.assign(c.process, { cwd: 'tmp' }), 'process.cwd must be an absolute path'],
    ['no mount point', (c) => c.mounts.push({ destination: '', type: 'tmpfs' }), 'mounts.destination must be a path'],
    ['the root as mount point', (c) => c.mounts.push({ destination: '/', type: 'tmpfs' }), 'the root itself cannot be a mount point'],
    [
      'a mount with half of its id maps',
      (c) =>
        c.mounts.push(
          Object.assign({ destination: '/x', type: 'bind', source: '/' }, { uidMappings: [{ containerID: 0, hostID: 1, size: 1 }] }),
        ),
      'needs both uidMappings and gidMappings',
    ],
    ['another major version', (c) => Object.assign(c, { ociVersion: '2.0.0' }), 'ociVersion 2.0.0 is not supported'],
    ['a mask that is relative', (c) => Object.assign(c.linux, { maskedPaths: ['x'] }), 'maskedPaths must be absolute'],
    [
      'a device of an owner that is not mapped',
      (c) => Object.assign(c.linux, { devices: [{ path: '/dev/x', type: 'c', major: 1, minor: 3, uid: 70000 }] }),
      'device /dev/x has an owner that the user namespace does not map',
    ],
    [
      'the root as a device',
      (c) => Object.assign(c.linux, { devices: [{ path: '//', type: 'c', major: 1, minor: 3 }] }),
      'linux.devices.path // names no file',
    ],
    [
      'groups of its own and those of the runtime',
      (c) => {
        c.annotations = { 'run.oci.keep_original_groups': '1' };
        c.process.user = { uid: 0, gid: 0, additionalGids: [5] };
      },
      'exclude each other',
    ],
    [
      'half a wish for the runtime’s groups',
      (c) => Object.assign(c, { annotations: { 'run.oci.keep_original_groups': 'yes' } }),
      'is 0 or 1, not "yes"',
    ],
  ];
  it.each(refused)('with %s is refused, and nothing stays', (_, change, message) => {
    const outcome = bundle.run(['exit', '0'], change);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain(message);
    expect(outcome.stderr.trim().split('\n').length).toBe(1);
    expect(bundle.leftovers()).toEqual([]);
  });

  it.each([
    ['', 'unexpected end'],
    ['{', 'expected a member name'],
    ['[]', 'ociVersion is missing'],
    ['{"ociVersion":"1.0.2","ociVersion":"1.0.2"}', 'duplicate member name'],
    ['{"ociVersion":"1.0.2","root":{"path":"a\\u0000b"}}', 'NUL character'],
    [`${'['.repeat(100)}`, 'nested too deeply'],
    ['{"ociVersion":"1.0.2"} x', 'text after the value'],
  ])('that is no config is refused: %s', (text, message) => {
    writeFileSync(join(bundle.dir, 'config.json'), text);
    const outcome = bundle.runtime(['run', '-b', bundle.dir, bundle.id]);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain(message);
  });

  it('may hold what this version of the specification does not know', () => {
    const outcome = bundle.run(['exit', '5'], (config) => Object.assign(config, { future: { any: 'thing' } }));
    expect(outcome.status).toBe(5);
  });

  it('with empty labels, as engines write them, is fine', () => {
    const outcome = bundle.run(['exit', '5'], (config) => {
      Object.assign(config.process, { selinuxLabel: '', apparmorProfile: '' });
      Object.assign(config.linux, { mountLabel: '' });
    });
    expect(outcome.status).toBe(5);
  });
});

it('leaves nothing of a container whose runtime is killed while its first process waits for it', async () => {
  bundle.create(['wait'], (config) => {
    config.hooks = { createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', 'kill -9 $PPID'] }] };
  });
  await eventually(() => bundle.state().status === 'stopped', 'stopped by itself');
  expect(bundle.runtime(['delete', '--force', bundle.id])).toMatchObject({ status: 0, stderr: '' });
  expect(bundle.leftovers()).toEqual([]);
});

it('leaves nothing of a container whose runtime is killed at any moment', async () => {
  for (let delay = 0; delay < 16; delay += 1) {
    bundle.write(bundle.config(['wait']));
    const child = spawn(runtimePath, ['--root', bundle.stateRoot, 'create', '--bundle', bundle.dir, bundle.id], { stdio: 'ignore' });
    const ended = new Promise((done) => child.once('exit', done));
    await new Promise((done) => setTimeout(done, delay / 2));
    child.kill('SIGKILL');
    await ended;
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(bundle.leftovers()).toEqual([]);
    expect(existsSync(join(bundle.stateRoot, bundle.id))).toBe(false);
  }
});

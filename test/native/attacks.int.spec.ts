import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  asHostRoot,
  eventually,
  HOST_BASE,
  isSanitized,
  nativeDir,
  type OciConfig,
  reportOf,
  runtimePath,
  statusField,
  TestBundle,
} from './bundle.js';

/** An emulated machine takes its time. */
const patience = process.env.BERTH_TEST_MACHINE === 'qemu' ? 8 : 1;

let bundle: TestBundle;
let other: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
  other = new TestBundle();
});
afterEach(() => {
  // First: its program may still be at work in the other's directory.
  other.dispose();
  bundle.dispose();
});

/** Starts a container whose program does `ops`. */
const start = (which: TestBundle, ops: string[], change: (config: OciConfig) => void = () => {}): void => {
  expect(which.create(ops, change)).toMatchObject({ status: 0, stderr: '' });
  expect(which.runtime(['start', which.id]).status).toBe(0);
};

describe('overwriting the runtime from inside, while it enters the container', () => {
  let copy: string;
  let bytes: Buffer;
  beforeEach(() => {
    copy = join(bundle.dir, 'berth-runtime');
    copyFileSync(runtimePath, copy);
    bytes = readFileSync(copy);
    bundle.runtimeFile = copy;
  });
  /** The created container's stdout is the file that a later command would take for its own. It ends when it has won, or after `ms`. */
  const attack = async (run: () => void, ms = 1500 * patience): Promise<Record<string, unknown>> => {
    const log = join(bundle.dir, 'log');
    const config = bundle.config(['hijack', `${ms}`]);
    asHostRoot(config);
    // More than a container has by default: it may look at processes with rights that it lacks.
    config.process.capabilities = { bounding: ['CAP_SYS_PTRACE'], effective: ['CAP_SYS_PTRACE'], permitted: ['CAP_SYS_PTRACE'] };
    bundle.write(config);
    const script = `exec >${log} 2>&1 </dev/null; ${copy} --root ${bundle.stateRoot} run -d --pid-file ${bundle.dir}/pid -b ${bundle.dir} ${bundle.id}`;
    expect(spawnSync('sh', ['-c', script]).status).toBe(0);
    const line = (op: string): string | undefined =>
      readFileSync(log, 'utf8')
        .split('\n')
        .find((each) => each.startsWith(`{"op":"${op}"`));
    await eventually(() => line('ready') !== undefined, 'ready');
    while (line('hijack') === undefined) run();
    return JSON.parse(line('hijack') ?? '');
  };

  it.each([
    ['runs a program of it', '/probe'],
    ['is made to run itself', '/proc/self/exe'],
  ])('fails where exec %s, even for the host’s root', async (_, program) => {
    const found = await attack(() =>
      spawnSync(copy, ['--root', bundle.stateRoot, 'exec', bundle.id, program, 'ready'], { stdio: 'ignore' }),
    );
    expect(found.written).toBe(0);
    expect(readFileSync(copy).equals(bytes)).toBe(true);
  });

  it('works on a program that enters without that protection', async () => {
    const victim = join(bundle.dir, 'victim');
    copyFileSync(join(nativeDir, 'berth-probe'), victim);
    // It can be overwritten too, on its way to the victim: a copy, never the machine's own.
    const entering = join(bundle.dir, 'nsenter');
    copyFileSync('/usr/bin/nsenter', entering);
    const enter = `exec 9<${victim}; exec ${entering} -t ${'$'}(cat ${bundle.dir}/pid) -m -p -- /proc/self/fd/9 sleep 60`;
    const found = await attack(() => spawnSync('sh', ['-c', enter], { stdio: 'ignore' }), 30_000 * patience);
    expect(found.opened).toBeGreaterThan(0);
    expect(found.written).toBe(1);
    expect([victim, entering].filter((file) => readFileSync(file, 'latin1').endsWith('overwritten\n'))).toHaveLength(1);
  });
});

describe('a descriptor that the caller left open', () => {
  const withOpenRoot = (command: string[]): { stdout: string; stderr: string; status: number | null } =>
    spawnSync('sh', ['-c', 'exec 3</ 7</; exec "$@"', 'sh', runtimePath, '--root', bundle.stateRoot, ...command], { encoding: 'utf8' });

  it('does not reach the container by run or exec, in its descriptors or as its working directory', () => {
    bundle.write(bundle.config(['ls', '/proc/self/fd/3', 'ls', '/proc/self/fd/7', 'ls', '/proc/1/fd/7']));
    expect(withOpenRoot(['run', '-b', bundle.dir, bundle.id]).stdout).not.toContain('"names"');
    start(bundle, ['wait']);
    const exec = withOpenRoot(['exec', bundle.id, '/probe', 'ls', '/proc/self/fd/3', 'ls', '/proc/1/fd/7']);
    expect(exec.stdout).toContain('ENOENT');
    expect(exec.stdout).not.toContain('"names"');
    for (const fd of [3, 5, 7, 8, 9]) {
      const outcome = withOpenRoot(['exec', '--cwd', `/proc/self/fd/${fd}`, bundle.id, '/probe', 'ls', '.']);
      expect(outcome.stdout).toBe('');
      expect(outcome.stderr).toContain('working directory');
    }
  });

  it('would show it the host if it did: handed on by request, it does', () => {
    bundle.write(bundle.config(['ls', '/proc/self/fd/3']));
    expect(withOpenRoot(['run', '--preserve-fds', '1', '-b', bundle.dir, bundle.id]).stdout).toContain('"etc"');
  });
});

describe('an image that brings its own /dev, /proc or /dev/pts', () => {
  it('masks with the host’s own null device whatever stands at /dev/null', () => {
    const victim = join(bundle.dir, 'victim');
    writeFileSync(victim, 'host');
    bundle.makeDir('dev');
    for (const name of ['null', 'console', 'ptmx']) symlinkSync(victim, join(bundle.rootfs, 'dev', name));
    writeFileSync(join(bundle.rootfs, 'secret'), 'hidden');
    const outcome = bundle.run(['read', '/secret', 'stat', '/secret', 'write', '/secret', 'x'], (config) => {
      config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith('/dev'));
      config.linux.maskedPaths = ['/secret'];
    });
    // Either the image's links are refused, or the mask holds in spite of them.
    if (outcome.status === 0) {
      expect(outcome.lines[0]).toMatchObject({ text: '' });
      expect(outcome.lines[1]).toMatchObject({ major: 1, minor: 3 });
    } else expect(outcome.stderr).toMatch(/symbolic link|File exists|device/);
    expect(readFileSync(victim, 'utf8')).toBe('host');
  });

  it('does not lead the writing of sysctls astray by a /proc of its own', () => {
    const victim = join(bundle.dir, 'victim');
    writeFileSync(victim, 'host');
    mkdirSync(join(bundle.rootfs, 'proc/sys/kernel'), { recursive: true });
    symlinkSync(victim, join(bundle.rootfs, 'proc/sys/kernel/msgmax'));
    const before = readFileSync('/proc/sys/kernel/msgmax', 'utf8');
    const outcome = bundle.run(['exit', '0'], (config) => {
      asHostRoot(config);
      config.mounts = config.mounts.filter(({ destination }) => destination !== '/proc');
      config.linux.maskedPaths = [];
      config.linux.readonlyPaths = [];
      config.linux.sysctl = { 'kernel.msgmax': '4096' };
    });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    expect([readFileSync(victim, 'utf8'), readFileSync('/proc/sys/kernel/msgmax', 'utf8')]).toEqual(['host', before]);
    // What a naive runtime would have written through.
    writeFileSync(join(bundle.rootfs, 'proc/sys/kernel/msgmax'), 'reached');
    expect(readFileSync(victim, 'utf8')).toBe('reached');
  });
});

describe('a mount point that another container exchanges for a link meanwhile', () => {
  const rounds = 24 / patience;
  let volume: string;
  let outside: string;
  const race = async (): Promise<void> => {
    volume = join(bundle.dir, 'volume');
    outside = join(bundle.dir, 'outside');
    for (const path of [join(volume, 'target/sub'), join(outside, 'sub')]) mkdirSync(path, { recursive: true });
    symlinkSync(outside, join(volume, 'link'));
    start(other, ['swap', '/vol/target', '/vol/link', '60000'], (config) => {
      asHostRoot(config);
      config.mounts.push({ destination: '/vol', type: 'bind', source: volume, options: ['rbind', 'rw'] });
    });
    await eventually(isRacing, 'racing');
  };
  const isRacing = (): boolean => {
    try {
      return readlinkSync(join(volume, 'target')) === outside;
    } catch {
      return false;
    }
  };

  it('leads no mount out of the container', async () => {
    await race();
    for (let round = 0; round < rounds; round++) {
      const outcome = bundle.run(['report'], (config) => {
        asHostRoot(config);
        config.mounts.push(
          { destination: '/vol', type: 'bind', source: volume, options: ['rbind', 'rw'] },
          { destination: '/vol/target/sub', type: 'tmpfs', source: 'raced' },
        );
      });
      const mounts = String(outcome.lines[0]?.mountinfo ?? '')
        .split('\n')
        .filter((line) => line.includes(' raced '));
      for (const line of mounts) expect(line.split(' ')[4]).toMatch(/^\/vol\/(target|link)\/sub$|^\/.*outside\/sub$/);
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(' raced ');
    }
    expect(readdirSync(join(outside, 'sub'))).toEqual([]);
  });

  it('would lead one that is made by name to the host', async () => {
    await race();
    const script = `i=0; while [ $i -lt 500 ]; do mount -t tmpfs raced '${volume}/target/sub' 2>/dev/null; grep -q 'outside/sub .* raced' /proc/self/mountinfo && exit 7; i=$((i+1)); done`;
    expect(spawnSync('unshare', ['-m', 'sh', '-c', script]).status).toBe(7);
  });
});

describe('a user', () => {
  it.each([4294967295, 4294967296, 2 ** 53, -1, 1.5, '0', 18446744073709552000])('with the id %j is refused by the config', (uid) => {
    for (const key of ['uid', 'gid']) {
      const outcome = bundle.run(['exit', '0'], (config) => Object.assign(config.process.user, { [key]: uid }));
      expect(outcome.status).toBe(1);
      expect(outcome.stderr).toContain(`${key} must be an integer`);
    }
  });

  it.each(['4294967295', '4294967296', '18446744073709551616', '-1', '0x0', ' 0', '', ':', ':0', '0:', '00000000000'])(
    '%j is refused by exec',
    (user) => {
      start(bundle, ['wait']);
      expect(bundle.runtime(['exec', '-u', user, bundle.id, '/probe', 'report']).stdout).toBe('');
    },
  );

  it('beyond the user namespace is nobody inside it', () => {
    const outcome = bundle.run(['exit', '0'], (config) => Object.assign(config.process.user, { uid: 65536 }));
    expect(outcome.stderr).toContain('become user 65536');
  });

  const passwd = (text: string): string => join(bundle.makeDir('etc'), text);
  it.each([
    ['a FIFO', (path: string) => void spawnSync('mkfifo', [path])],
    ['a directory', (path: string) => void mkdirSync(path)],
    ['a device', (path: string) => void spawnSync('mknod', [path, 'c', '1', '5'])],
    ['a link to an endless device', (path: string) => symlinkSync('/dev/zero', path)],
    ['a link to the host’s', (path: string) => symlinkSync(join(bundle.dir, 'passwd'), path)],
    ['a link to a descriptor', (path: string) => symlinkSync('/proc/self/fd/0', path)],
    ['without end', (path: string) => void spawnSync('truncate', ['-s', '8G', path])],
    [
      'of ids that wrap',
      (path: string) => writeFileSync(path, 'evil:x:4294967296:0::/:\nevil:x:-1:0::/:\nevil:x::0::/:\nevil:x:0x0:0::/:\n'),
    ],
  ])('is not found in a passwd file that is %s', (_, make) => {
    // What the links would lead to, were they followed out of the container.
    writeFileSync(join(bundle.dir, 'passwd'), 'evil:x:0:0::/:\n');
    make(passwd('passwd'));
    start(bundle, ['wait']);
    const began = Date.now();
    const outcome = bundle.runtime(['exec', '-u', 'evil', bundle.id, '/probe', 'report']);
    expect(outcome.stdout).toBe('');
    expect(outcome.stderr).toMatch(/\/etc\/passwd/);
    expect(Date.now() - began).toBeLessThan(20_000);
  });

  it('is found in one that is sane', () => {
    writeFileSync(passwd('passwd'), 'evil:x:7:8::/:\n');
    start(bundle, ['wait']);
    expect(bundle.runtime(['exec', '-u', 'evil', bundle.id, '/probe', 'report']).lines[0]).toMatchObject({ uid: 7, gid: 8 });
  });
});

describe('set-id programs and file capabilities', () => {
  /** The probe again, owned by the container's root, with set-id bits and every capability: as a layer brings it. */
  const plant = (): void => {
    copyFileSync(join(nativeDir, 'berth-probe'), join(bundle.rootfs, 'suid'));
    spawnSync('chown', [`${HOST_BASE}:${HOST_BASE}`, join(bundle.rootfs, 'suid')]);
    spawnSync('chmod', ['6755', join(bundle.rootfs, 'suid')]);
  };
  const uidAfter = (noNewPrivileges: boolean): string => {
    plant();
    const outcome = bundle.run(['report'], (config) => {
      config.process.args[0] = '/suid';
      config.process.noNewPrivileges = noNewPrivileges;
      config.process.user = { uid: 1000, gid: 1000 };
    });
    return statusField(reportOf(outcome).status, 'Uid').split(/\s+/)[1] ?? '';
  };

  it('give nothing under no_new_privs', () => {
    expect(uidAfter(true)).toBe('1000');
  });

  it('would without it', () => {
    expect(uidAfter(false)).toBe('0');
  });
});

describe('the files of its cgroup', () => {
  const v1 = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');
  const limit = v1 ? '/sys/fs/cgroup/memory/memory.limit_in_bytes' : '/sys/fs/cgroup/memory.max';
  const agents = ['/sys/fs/cgroup/memory/release_agent', '/sys/fs/cgroup/release_agent', '/sys/fs/cgroup/memory/cgroup.procs'];
  const ops = [
    'write',
    limit,
    '-1',
    ...agents.flatMap((path) => ['write', path, '/evil']),
    'mkdir',
    `${limit.replace(/\/[^/]*$/, '')}/nested`,
  ];

  it('are closed to the container, release_agent among them, and so is every other way to a cgroup mount', () => {
    for (const change of [() => {}, asHostRoot]) {
      const outcome = bundle.run([...ops, 'mount', '/sys/fs/cgroup', 'unshare', '0x02000000'], (config) => {
        change(config);
        config.linux.resources = { memory: { limit: 64 << 20 } };
      });
      expect(outcome.lines.length).toBe(7);
      expect(outcome.lines.map(({ ok }) => ok)).toEqual(Array(7).fill(false));
    }
  });

  it('would be open by a writable mount', () => {
    const outcome = bundle.run(ops, (config) => {
      asHostRoot(config);
      config.linux.resources = { memory: { limit: 64 << 20 } };
      for (const mount of config.mounts) if (mount.type === 'cgroup') mount.options = ['nosuid', 'noexec', 'nodev'];
    });
    // A v2 mount with nsdelegate keeps the limits of a namespace's root to itself, whoever may write there.
    if (v1) expect(outcome.lines[0]?.error).toBeUndefined();
    expect(outcome.lines.at(-1)?.error).toBeUndefined();
  });
});

it.skipIf(isSanitized)('starts within a memory limit that leaves no room for a copy of the runtime, defence included', () => {
  // The kernel's own least for a process with a stack, and then hardly anything.
  const outcome = bundle.run(['exit', '7'], (config) => {
    asHostRoot(config);
    config.linux.resources = { memory: { limit: 1 << 20, swap: 1 << 20 } };
  });
  expect(outcome).toMatchObject({ status: 7, stderr: '' });
});

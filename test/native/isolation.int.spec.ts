import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, HOST_BASE, type OciConfig, reportOf, runtimePath, statusField, TestBundle } from './bundle.js';
import { mountsOf, namesIn } from './views.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

describe('the file system', () => {
  it('is the bundle’s root, with nothing of the host above it', () => {
    const outcome = bundle.run(['ls', '/', 'ls', '/..', 'report']);
    expect(namesIn(outcome, 0)).toEqual(['dev', 'probe', 'proc', 'sys']);
    expect(namesIn(outcome, 1)).toEqual(namesIn(outcome, 0));
    expect([...mountsOf(reportOf(outcome).mountinfo).keys()].filter((path) => !/^\/(dev|proc|sys|$)/.test(path))).toEqual([]);
  });

  it('has the mounts of the config with their options', () => {
    const mounts = mountsOf(reportOf(bundle.run(['report'])).mountinfo);
    const proc = mounts.get('/proc');
    expect(proc?.type).toBe('proc');
    expect(proc?.options).toEqual(expect.arrayContaining(['nosuid', 'nodev', 'noexec']));
    expect(mounts.get('/dev')).toMatchObject({ type: 'tmpfs' });
    expect(mounts.get('/dev/pts')).toMatchObject({ type: 'devpts' });
    expect(mounts.get('/dev/shm')).toMatchObject({ type: 'tmpfs' });
    expect(mounts.get('/dev/mqueue')).toMatchObject({ type: 'mqueue' });
    expect(mounts.get('/sys')?.options).toContain('ro');
  });

  it('takes bind mounts of directories and files, making their mount points', () => {
    const source = join(bundle.dir, 'source');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'from the host');
    const outcome = bundle.run(
      ['read', '/a/b/c/file', 'create', '/a/b/c/new', 'x', 'read', '/x/one', 'write', '/x/one', 'y', 'report'],
      (config) => {
        config.mounts.push(
          { destination: '/a/b/c', type: 'bind', source, options: ['rbind', 'ro', 'nosuid', 'nodev', 'noexec'] },
          { destination: '/x/one', source: join(source, 'file'), options: ['bind', 'ro'] },
        );
      },
    );
    expect(outcome.lines[0]).toMatchObject({ ok: true, text: 'from the host' });
    expect(outcome.lines[1]).toMatchObject({ ok: false, error: 'EROFS' });
    expect(outcome.lines[2]).toMatchObject({ ok: true, text: 'from the host' });
    expect(outcome.lines[3]?.ok).toBe(false);
    expect(mountsOf(reportOf(outcome).mountinfo).get('/a/b/c')?.options).toEqual(
      expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']),
    );
  });

  it('makes a whole tree read-only with rro, and only its top with ro', () => {
    const source = join(bundle.dir, 'source');
    const script = `mount --bind '${source}' '${source}' && mount -t tmpfs t '${source}/sub' && exec "$@"`;
    mkdirSync(join(source, 'sub'), { recursive: true });
    for (const [option, error] of [
      ['rro', 'EROFS'],
      ['ro', undefined],
    ] as const) {
      const config = bundle.config(['create', '/m/sub/f', 'x', 'create', '/m/f', 'x']);
      config.mounts.push({ destination: '/m', type: 'bind', source, options: ['rbind', option] });
      asHostRoot(config);
      bundle.write(config);
      // In a mount namespace of the test's own, so that the tree below the source is gone with it.
      const { stdout } = spawnSync(
        'unshare',
        ['-m', 'sh', '-ec', script, 'sh', runtimePath, '--root', bundle.stateRoot, 'run', '-b', bundle.dir, bundle.id],
        { encoding: 'utf8' },
      );
      const lines = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(lines[0].error, option).toBe(error);
      expect(lines[1].error, option).toBe('EROFS');
    }
  });

  it('is read-only when the config says so, mount points made all the same', () => {
    const outcome = bundle.run(['create', '/file', 'x', 'create', '/dev/shm/file', 'x', 'mkdir', '/new/dir'], (config) => {
      config.root.readonly = true;
      config.mounts.push({ destination: '/new', type: 'tmpfs', source: 'tmpfs' });
    });
    expect(outcome.lines.map(({ error }) => error)).toEqual(['EROFS', undefined, undefined]);
  });

  it.each([asHostRoot, () => {}])('tells nothing of its mounts to the host, even where the host shares its own', (change) => {
    const source = join(bundle.dir, 'source');
    mkdirSync(join(source, 'sub'), { recursive: true });
    const config = bundle.config(['wait']);
    change(config);
    config.mounts.push({ destination: '/m', type: 'bind', source, options: ['rbind'] }, { destination: '/m/sub', type: 'tmpfs' });
    bundle.write(config);
    const runtime = `'${runtimePath}' --root '${bundle.stateRoot}'`;
    const script = `
      mount --make-rshared /
      cp /proc/self/mountinfo '${bundle.dir}/before'
      ${runtime} create --bundle '${bundle.dir}' ${bundle.id}
      cp /proc/self/mountinfo '${bundle.dir}/after'
      ${runtime} delete --force ${bundle.id}`;
    expect(spawnSync('unshare', ['-m', 'sh', '-ec', script], { stdio: 'ignore' }).status).toBe(0);
    const mounts = (file: string): string[] => [...mountsOf(readFileSync(join(bundle.dir, file), 'utf8')).keys()];
    expect(mounts('after')).toEqual(mounts('before'));
  });

  it('is refused with a reason when a mount cannot be had', () => {
    const cases: [Partial<OciConfig['mounts'][number]>, string][] = [
      [{ type: 'tmpfs', options: ['size=lots'] }, 'tmpfs'],
      [{ type: 'nofs' }, 'mount nofs at /m'],
      [{ type: 'bind', source: '/nowhere', options: ['bind'] }, 'open /nowhere'],
      [{ type: 'bind', source: '/', options: ['bind', 'frob'] }, 'option frob is unknown'],
      [{ type: 'proc', options: ['tmpcopyup'] }, 'tmpcopyup is for tmpfs'],
      [{ type: 'tmpfs', options: ['idmap'] }, 'only bind mounts can have their ids mapped'],
    ];
    for (const [mount, message] of cases) {
      const outcome = bundle.run(['exit', '0'], (config) => config.mounts.push({ destination: '/m', ...mount }));
      expect(outcome.status).toBe(1);
      expect(outcome.stderr).toContain(message);
    }
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('/dev', () => {
  it.each([
    ['in a user namespace', () => {}],
    ['without one', asHostRoot],
  ] as const)('has the default devices and links %s', (_, change) => {
    const devices = { null: 3, zero: 5, full: 7, random: 8, urandom: 9 };
    const names = Object.keys(devices);
    const outcome = bundle.run(
      [
        ...names.flatMap((name) => ['stat', `/dev/${name}`]),
        'write',
        '/dev/null',
        'x',
        'stat',
        '/dev/fd',
        'stat',
        '/dev/ptmx',
        'ls',
        '/dev',
      ],
      change,
    );
    names.forEach((name, i) => {
      expect(outcome.lines[i], name).toMatchObject({ major: 1, minor: devices[name as keyof typeof devices], mode: 0o020666 });
    });
    expect(outcome.lines[5]?.ok).toBe(true);
    expect(outcome.lines[6]).toMatchObject({ target: '/proc/self/fd' });
    expect(outcome.lines[7]).toMatchObject({ target: 'pts/ptmx' });
    expect(namesIn(outcome, 8)).toEqual([...names, 'tty', 'fd', 'mqueue', 'ptmx', 'pts', 'shm', 'stderr', 'stdin', 'stdout'].sort());
  });

  it('bars making devices in a user namespace', () => {
    expect(bundle.run(['mknod', '/dev/mem', '1', '1']).lines[0]).toMatchObject({ ok: false, error: 'EPERM' });
  });

  it('has the devices of the config', () => {
    const device = { path: '/dev/extra/tun', type: 'c', major: 10, minor: 200, fileMode: 0o600, uid: 7, gid: 8 };
    const outcome = bundle.run(['stat', '/dev/extra/tun'], (config) => {
      config.linux.devices = [device];
      asHostRoot(config);
    });
    expect(outcome.lines[0]).toMatchObject({ mode: 0o020600, uid: 7, gid: 8, major: 10, minor: 200 });
  });
});

describe('devices of the config', () => {
  const fifo = { path: '/dev/pipe', type: 'p', fileMode: 0o640, uid: 3, gid: 4 };
  it.each([
    ['in a user namespace', () => {}],
    ['without one', asHostRoot],
  ] as const)('may be FIFOs %s', (_, change) => {
    const outcome = bundle.run(['stat', '/dev/pipe'], (config) => {
      change(config);
      config.linux.devices = [fifo];
    });
    expect(outcome.lines[0]).toMatchObject({ mode: 0o010640, uid: 3, gid: 4 });
  });

  it('that are there already are taken over, with owner and mode, and others are refused', () => {
    const run = (minor: number) =>
      bundle.run(['stat', '/nodes/x'], (config) => {
        asHostRoot(config);
        config.linux.devices = [{ path: '/nodes/x', type: 'c', major: 1, minor, fileMode: 0o604, uid: 3, gid: 4 }];
      });
    expect(run(3).lines[0]).toMatchObject({ minor: 3, mode: 0o020604 });
    expect(run(3).lines[0]).toMatchObject({ minor: 3, mode: 0o020604, uid: 3 });
    expect(run(5).stderr).toContain('make device /nodes/x: File exists');
  });
});

describe('masked and read-only paths', () => {
  it('hide files behind a device that reads as empty, and directories behind empty ones', () => {
    const secret = bundle.makeDir('secret');
    writeFileSync(join(secret, 'key'), 'hidden');
    writeFileSync(join(bundle.rootfs, 'file'), 'hidden');
    const ops = [
      'read',
      '/file',
      'ls',
      '/secret',
      'create',
      '/secret/new',
      'x',
      'read',
      '/proc/keys',
      'read',
      '/proc/timer_list',
      'stat',
      '/file',
    ];
    const outcome = bundle.run([...ops, 'report'], (config) => {
      (config.linux.maskedPaths as string[]).push('/file', '/secret', '/not/there', '/secret', '/file');
    });
    expect(reportOf(outcome).mountinfo.match(/ \/(file|secret) /g)).toEqual([' /file ', ' /secret ']);
    expect(outcome.lines[0]).toMatchObject({ ok: true, text: '' });
    expect(outcome.lines[1]).toMatchObject({ ok: true, names: [] });
    expect(outcome.lines[2]).toMatchObject({ ok: false, error: 'EROFS' });
    for (const i of [3, 4]) expect(outcome.lines[i]?.text ?? '').toBe('');
    expect(outcome.lines[5]).toMatchObject({ major: 1, minor: 3 });
  });

  it('are controls that matter: without them the same reads succeed', () => {
    const outcome = bundle.run(['read', '/file', 'write', '/proc/sys/kernel/domainname', 'x'], (config) => {
      writeFileSync(join(bundle.rootfs, 'file'), 'hidden');
      config.linux.maskedPaths = [];
      config.linux.readonlyPaths = [];
      asHostRoot(config);
    });
    expect(outcome.lines[0]).toMatchObject({ text: 'hidden' });
    expect(outcome.lines[1]?.ok).toBe(true);
  });

  it('keep /proc/sys from being written to', () => {
    const outcome = bundle.run(['write', '/proc/sys/kernel/domainname', 'x', 'write', '/proc/sysrq-trigger', 'h'], asHostRoot);
    expect(outcome.lines[0]).toMatchObject({ error: 'EROFS' });
    expect(outcome.lines[1]?.error).toMatch(/^(EROFS|ENOENT)$/);
  });
});

describe('sysctls', () => {
  it('are set in the container’s own namespaces', () => {
    const before = readFileSync('/proc/sys/kernel/msgmax', 'utf8');
    const outcome = bundle.run(['read', '/proc/sys/kernel/msgmax', 'read', '/proc/sys/net/ipv4/ip_unprivileged_port_start'], (config) => {
      config.linux.sysctl = { 'kernel.msgmax': '4096', 'net.ipv4.ip_unprivileged_port_start': '80' };
    });
    expect(outcome.stderr).toBe('');
    expect(outcome.lines.map(({ text }) => text)).toEqual(['4096\n', '80\n']);
    expect(readFileSync('/proc/sys/kernel/msgmax', 'utf8')).toBe(before);
  });

  it.each([
    [{ 'kernel.panic': '1' }, 'kernel.panic'],
    [{ 'net/../kernel.panic': '1' }, 'not a dotted name'],
    [{ 'vm.overcommit_memory': '1' }, 'vm.overcommit_memory'],
  ])('of the host are refused: %o', (sysctl, message) => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.linux.sysctl = sysctl;
    });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain(message);
  });

  it('of a namespace that is the host’s are refused', () => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.linux.sysctl = { 'net.ipv4.ip_forward': '1' };
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'network');
    });
    expect(outcome.stderr).toContain('not in a namespace that the container creates');
  });
});

it('gives a session keyring of its own, not the caller’s', () => {
  // As the host's root: a user namespace has keyrings of its own anyway.
  const own = reportOf(bundle.run(['report'], asHostRoot)).keyring;
  expect(own).toBeGreaterThan(0);
  const again = reportOf(bundle.run(['report'], asHostRoot)).keyring;
  expect(again).not.toBe(own);
});

it('runs as session leader with no signal blocked or ignored', () => {
  const report = reportOf(bundle.run(['report']));
  expect(report.sid).toBe(report.pid);
  for (const key of ['SigBlk', 'SigIgn']) expect(BigInt(`0x${statusField(report.status, key)}`), key).toBe(0n);
  expect(statSync(bundle.rootfs).uid).toBe(HOST_BASE);
});

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  asHostRoot,
  HOST_BASE,
  hierarchies,
  hierarchyOf,
  type Mount,
  type OciConfig,
  type Outcome,
  reportOf,
  runtimePath,
  TestBundle,
} from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

/** A directory of the host's with a file in it, both owned by `uid`. */
function hostDir(uid = 0): string {
  const source = join(bundle.dir, 'source');
  mkdirSync(source);
  writeFileSync(join(source, 'file'), 'from the host');
  for (const path of [source, join(source, 'file')]) chownSync(path, uid, uid);
  return source;
}

const withMount =
  (mount: Mount & Record<string, unknown>, ...changes: ((config: OciConfig) => void)[]) =>
  (config: OciConfig): void => {
    config.mounts.push(mount);
    for (const change of changes) change(config);
  };

const optionsOf = (outcome: Outcome, destination: string): string[] =>
  reportOf(outcome)
    .mountinfo.split('\n')
    .map((line) => line.split(' '))
    .find((fields) => fields[4] === destination)?.[5]
    ?.split(',') ?? [];

/** Some file systems of older kernels know no mapped ids; then the runtime has to say so. */
const knowsNoMaps = (outcome: Outcome): boolean => outcome.stderr.includes('knows no mapped ids');

it('are listed in the order of the config, bind mounts too', () => {
  const source = hostDir();
  const { mountinfo } = reportOf(
    bundle.run(['report'], (config) => {
      asHostRoot(config);
      config.mounts = ['/a', '/b', '/c', '/d'].flatMap((destination, index) => [
        { destination: `${destination}1`, type: 'tmpfs', source: 'tmpfs' },
        { destination: `${destination}2`, source, options: ['rbind', 'bind'].slice(index % 2).concat(index > 1 ? ['rprivate'] : []) },
      ]);
      config.mounts.unshift({ destination: '/proc', type: 'proc', source: 'proc' });
    }),
  );
  const listed = mountinfo.split('\n').map((line) => line.split(' ')[4] ?? '');
  expect(listed.filter((place) => /^\/[a-d][12]$/.test(place))).toEqual(['/a1', '/a2', '/b1', '/b2', '/c1', '/c2', '/d1', '/d2']);
});

it('of all that the host’s root holds leave the container’s own out, whatever the root is called', () => {
  const name = join(bundle.dir, 'root-by-another-name');
  symlinkSync('/', name);
  const { mountinfo } = reportOf(
    bundle.run(['report'], withMount({ destination: '/m', source: name, options: ['rbind', 'rprivate', 'ro'] }, asHostRoot)),
  );
  expect(mountinfo).toMatch(/ \/ \/m ro/);
  expect(mountinfo).not.toMatch(/ \/m\/m /);
});

describe('mapped ids', () => {
  const map = (containerID: number, hostID: number) => [{ containerID, hostID, size: 1 }];

  it('of a bind mount are the container’s own with idmap, and without it belong to nobody', () => {
    const source = hostDir(7);
    const plain = bundle.run(['stat', '/m/file'], withMount({ destination: '/m', source, options: ['bind'] }));
    expect(plain.lines[0]).toMatchObject({ uid: 65534, gid: 65534 });
    const mapped = bundle.run(
      ['stat', '/m/file', 'create', '/m/new', 'x'],
      withMount({ destination: '/m', source, options: ['bind', 'idmap'] }),
    );
    if (knowsNoMaps(mapped)) return;
    expect(mapped.lines[0]).toMatchObject({ uid: 7, gid: 7 });
    expect(mapped.lines[1]?.ok).toBe(true);
    expect(statSync(join(source, 'new')).uid).toBe(0);
  });

  it('may be those of the mount alone', () => {
    const source = hostDir(7);
    const mappings = { uidMappings: map(7, HOST_BASE + 42), gidMappings: map(7, HOST_BASE + 43) };
    const outcome = bundle.run(['stat', '/m/file'], withMount({ destination: '/m', source, options: ['rbind', 'ridmap'], ...mappings }));
    if (!knowsNoMaps(outcome)) expect(outcome.lines[0]).toMatchObject({ uid: 42, gid: 43 });
    const host = bundle.run(['stat', '/m/file'], withMount({ destination: '/m', source, options: ['bind'], ...mappings }, asHostRoot));
    if (!knowsNoMaps(host)) expect(host.lines[0]).toMatchObject({ uid: HOST_BASE + 42, gid: HOST_BASE + 43 });
  });

  it('are refused where there are none to take', () => {
    const source = hostDir();
    const refused = (mount: Record<string, unknown>) =>
      bundle.run(['exit', '0'], withMount({ destination: '/m', source, options: ['bind', 'idmap'], ...mount }, asHostRoot)).stderr;
    expect(refused({})).toContain('idmap needs uidMappings and gidMappings');
    expect(refused({ uidMappings: map(0, 5) })).toContain('needs both uidMappings and gidMappings');
  });
});

describe('a tmpfs', () => {
  const ops = ['read', '/m/dir/file', 'stat', '/m/dir/file', 'stat', '/m/link', 'stat', '/m/dir', 'create', '/m/dir/file2', 'x'];

  it('with tmpcopyup begins with what it covers: contents, links, owners, modes, times', () => {
    const dir = bundle.makeDir('m/dir');
    writeFileSync(join(dir, 'file'), 'image');
    truncateSync(join(dir, 'file'), 1 << 20);
    chownSync(join(dir, 'file'), HOST_BASE + 5, HOST_BASE + 6);
    chmodSync(join(dir, 'file'), 0o4750);
    symlinkSync('/etc/passwd', join(dir, '../link'));
    chmodSync(dir, 0o1770);
    const outcome = bundle.run(ops, withMount({ destination: '/m', type: 'tmpfs', options: ['tmpcopyup', 'mode=0700'] }));
    expect(outcome.stderr).toBe('');
    expect(String(outcome.lines[0]?.text).slice(0, 5)).toBe('image');
    expect(outcome.lines[1]).toMatchObject({ uid: 5, gid: 6, mode: 0o104750 });
    expect(outcome.lines[2]).toMatchObject({ target: '/etc/passwd' });
    expect(outcome.lines[3]).toMatchObject({ mode: 0o041770 });
    expect(outcome.lines[4]?.ok).toBe(true);
    expect(existsSync(join(dir, 'file2'))).toBe(false);
  });

  it('that is too small for what it covers is refused', () => {
    writeFileSync(join(bundle.makeDir('m'), 'big'), Buffer.alloc(1 << 20, 1));
    const outcome = bundle.run(['exit', '0'], withMount({ destination: '/m', type: 'tmpfs', options: ['tmpcopyup', 'size=64k'] }));
    expect(outcome.stderr).toContain('copy what is at /m: No space left on device');
    expect(bundle.leftovers()).toEqual([]);
  });

  it('has the mode of the directory it covers unless it is given one', () => {
    chmodSync(bundle.makeDir('m'), 0o1750);
    const mode = (options: string[]) => bundle.run(['stat', '/m'], withMount({ destination: '/m', type: 'tmpfs', options })).lines[0]?.mode;
    expect(mode([])).toBe(0o041750);
    expect(mode(['mode=0711'])).toBe(0o040711);
  });
});

describe('a mount point', () => {
  it('at an image’s dangling link is made where the link leads inside', () => {
    bundle.makeDir('etc');
    symlinkSync('../../../run/resolve/conf', join(bundle.rootfs, 'etc/resolv.conf'));
    symlinkSync('/var/made', join(bundle.rootfs, 'made'));
    const source = hostDir();
    const outcome = bundle.run(['read', '/etc/resolv.conf', 'read', '/made/deep/file'], (config) => {
      config.mounts.push({ destination: '/etc/resolv.conf', source: join(source, 'file'), options: ['bind'] });
      config.mounts.push({ destination: '/made/deep', source, options: ['bind'] });
    });
    expect(outcome.stderr).toBe('');
    for (const line of outcome.lines) expect(line).toMatchObject({ text: 'from the host' });
    expect(lstatSync(join(bundle.rootfs, 'run/resolve/conf')).isFile()).toBe(true);
    expect(existsSync('/run/resolve/conf')).toBe(false);
  });

  it('at a link that leads to itself is refused', () => {
    symlinkSync('b', join(bundle.rootfs, 'a'));
    symlinkSync('a', join(bundle.rootfs, 'b'));
    const outcome = bundle.run(['exit', '0'], withMount({ destination: '/a', type: 'tmpfs' }));
    expect(outcome.stderr).toMatch(/Symbolic link loop|Too many levels/);
  });

  it('may be relative to the root', () => {
    expect(bundle.run(['create', '/m/n/file', 'x'], withMount({ destination: 'm/n', type: 'tmpfs' })).lines[0]?.ok).toBe(true);
  });
});

describe('options', () => {
  it('change a mount that is there with remount', () => {
    const change = withMount({ destination: '/dev/shm', options: ['remount', 'ro', 'nosuid', 'size=4k'] });
    const outcome = bundle.run(['create', '/dev/shm/x', 'x', 'report'], change);
    expect(outcome.stderr).toBe('');
    expect(outcome.lines[0]).toMatchObject({ error: 'EROFS' });
    expect(reportOf(outcome).mountinfo).toMatch(/ \/dev\/shm .*size=4k/);
  });

  it('that begin with r hold for the tree, and each has its opposite', () => {
    const source = hostDir();
    const options = ['rbind', 'rnosuid', 'rnodev', 'rnoexec', 'rnoatime', 'rro'];
    expect(optionsOf(bundle.run(['report'], withMount({ destination: '/m', source, options })), '/m')).toEqual(
      expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec', 'noatime']),
    );
    const opposite = ['rbind', 'rro', 'rrw', 'rnosuid', 'rsuid', 'rnoatime', 'rstrictatime'];
    const found = optionsOf(bundle.run(['report'], withMount({ destination: '/m', source, options: opposite }, asHostRoot)), '/m');
    expect(found).toContain('rw');
    expect(found).not.toContain('nosuid');
    expect(found).not.toContain('noatime');
  });

  it.each([
    ['rshared', asHostRoot, 'inside'],
    ['rslave', asHostRoot, undefined],
    ['rshared', () => {}, undefined],
  ] as const)('%s', (option, change, seen) => {
    // The host sees what is mounted below a shared bind mount, unless a user namespace makes the container less trusted.
    const source = hostDir();
    mkdirSync(join(source, 'sub'));
    const config = bundle.config(['mount', '/m/sub', 'create', '/m/sub/inside', 'x']);
    withMount({ destination: '/m', type: 'bind', source, options: ['rbind', option] }, change)(config);
    const caps = config.process.capabilities as Record<string, string[]>;
    config.process.capabilities = Object.fromEntries(Object.entries(caps).map(([set, names]) => [set, [...names, 'CAP_SYS_ADMIN']]));
    config.process.args.push('ready', 'sleep', '200');
    bundle.write(config);
    const runtime = `'${runtimePath}' --root '${bundle.stateRoot}'`;
    const script = `
      mount --bind '${source}' '${source}'
      mount --make-rshared '${source}'
      ${runtime} create --bundle '${bundle.dir}' ${bundle.id} >'${bundle.dir}/out'
      ${runtime} start ${bundle.id}
      for i in $(seq 100); do grep -q ready '${bundle.dir}/out' && break; sleep 0.05; done
      ls '${source}/sub'
      ${runtime} delete --force ${bundle.id}`;
    const { stdout } = spawnSync('unshare', ['-m', 'sh', '-c', script], { encoding: 'utf8' });
    expect(stdout.trim()).toBe(seen ?? '');
    expect(readFileSync(join(bundle.dir, 'out'), 'utf8')).toContain('{"op":"mount","ok":true}');
  });
});

describe('the cgroup mount', () => {
  it('shows the container its own limit, read-only, whatever the umask of who creates it', () => {
    const path = existsSync('/sys/fs/cgroup/memory') ? '/sys/fs/cgroup/memory/memory.limit_in_bytes' : '/sys/fs/cgroup/memory.max';
    const callers = process.umask(0o077);
    try {
      const outcome = bundle.run(['read', path], ({ linux }) => (linux.resources = { memory: { limit: 67108864 } }));
      expect(outcome.lines[0]).toMatchObject({ text: '67108864\n' });
    } finally {
      process.umask(callers);
    }
    // As the host's root: to others the file is closed anyway.
    const outcome = bundle.run(['read', path, 'write', path, '-1'], (config) => {
      config.linux.resources = { memory: { limit: 67108864 } };
      asHostRoot(config);
    });
    expect(outcome.lines[0]).toMatchObject({ text: '67108864\n' });
    expect(outcome.lines[1]).toMatchObject({ ok: false, error: 'EROFS' });
  });

  it('shows nothing but the container’s own cgroup where it is in the host’s cgroup namespace', () => {
    const { mount, v2 } = hierarchyOf('memory');
    const dir = v2 ? '/sys/fs/cgroup' : `/sys/fs/cgroup/memory`;
    const outcome = bundle.run(['report', 'read', `${dir}/cgroup.procs`, 'mkdir', `${dir}/x`, 'ls', dir], (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'cgroup');
      asHostRoot(config);
    });
    expect(reportOf(outcome).cgroup).toContain(bundle.cgroupsPath);
    expect(outcome.lines[1]).toMatchObject({ text: '1\n' });
    expect(outcome.lines[2]).toMatchObject({ error: 'EROFS' });
    expect(outcome.lines[3]?.names).not.toContain('berth');
    expect(existsSync(mount)).toBe(true);
  });

  it('of v2 that may be written to is the container user’s own, but for its limits', () => {
    if (!hierarchies().some(({ v2 }) => v2)) return;
    const dir = '/sys/fs/cgroup';
    const owned = (options: string[]) =>
      bundle.run(
        ['mkdir', `${dir}/below`, 'write', `${dir}/below/cgroup.procs`, '0', 'write', `${dir}/cgroup.max.depth`, '5'],
        (config) => {
          for (const mount of config.mounts) if (mount.type === 'cgroup') Object.assign(mount, { type: 'cgroup2', options });
          config.process.user = { uid: 8, gid: 8 };
        },
      );
    expect(owned(['nosuid']).lines.map(({ error }) => error)).toEqual([undefined, undefined, 'EACCES']);
    expect(owned(['nosuid', 'ro']).lines[0]).toMatchObject({ error: 'EROFS' });
    expect(bundle.leftovers()).toEqual([]);
  });

  it('of type cgroup2 is v2 alone, wherever v2 is mounted', () => {
    const outcome = bundle.run(['read', '/sys/fs/cgroup/cgroup.procs', 'ls', '/sys/fs/cgroup'], (config) => {
      for (const mount of config.mounts) if (mount.type === 'cgroup') mount.type = 'cgroup2';
    });
    if (hierarchies().some(({ v2 }) => v2)) expect(outcome.lines[0]).toMatchObject({ text: '1\n' });
    else expect(outcome.stderr).toContain('cgroup v2 is not mounted on this host');
  });
});

import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where the programs under test are; `native/build/san` runs the same tests on the sanitized ones. */
export const nativeDir = resolve(process.env.BERTH_NATIVE_DIR ?? 'native/build');
/** Sanitized programs are linked dynamically, so a container that holds no loader cannot run them. */
export const isSanitized = nativeDir.endsWith('/san');
export const runtimePath = join(nativeDir, 'berth-runtime');
/** First host id of the test containers' user namespaces. */
export const HOST_BASE = 200_000;

export interface Mount {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
}

/** The parts of config.json that tests change. */
export interface OciConfig {
  ociVersion: string;
  process: Record<string, unknown> & { args: string[]; env: string[]; cwd: string; user: Record<string, unknown> };
  root: { path: string; readonly?: boolean };
  hostname?: string;
  domainname?: string;
  mounts: Mount[];
  hooks?: Record<string, unknown>;
  annotations?: Record<string, string>;
  linux: Record<string, unknown> & {
    namespaces: { type: string; path?: string }[];
    resources: Record<string, unknown>;
    cgroupsPath: string;
  };
}

/** One line of the probe's output. */
export type ProbeLine = Record<string, unknown> & { op: string; ok: boolean; error?: string };

/** What the probe's `report` tells. */
export interface Report {
  pid: number;
  sid: number;
  uid: number;
  gid: number;
  groups: number[];
  umask: number;
  hostname: string;
  domainname: string;
  cwd: string;
  env: string[];
  status: string;
  mountinfo: string;
  cgroup: string;
  oom_score_adj: string;
  uid_map: string;
  limits: string;
  ns: Record<string, string>;
  fds: Record<string, string>;
  keyring: number;
}

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
  /** stdout's lines, when they are the probe's. */
  lines: ProbeLine[];
}

const DOCKER_CAPS = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
].map((name) => `CAP_${name}`);

let counter = 0;

/** A bundle of its own with the probe at `/probe`, its state directory, and everything that must be gone afterwards. */
export class TestBundle {
  readonly dir = mkdtempSync(join(tmpdir(), 'berth-native-'));
  readonly rootfs = join(this.dir, 'rootfs');
  readonly stateRoot = join(this.dir, 'state');
  readonly id = `t${process.pid}-${++counter}`;
  /** The program that `runtime` starts. */
  runtimeFile = runtimePath;
  readonly cgroupsPath = `/berth-test-${process.pid}/${this.id}`;

  constructor() {
    mkdirSync(this.rootfs, { mode: 0o755 });
    // The runtime's own files are root's alone; the container's root only needs to pass through to its own.
    chmodSync(this.dir, 0o700);
    copyFileSync(join(nativeDir, 'berth-probe'), join(this.rootfs, 'probe'));
    chmodSync(join(this.rootfs, 'probe'), 0o755);
    this.own();
  }

  /** Gives the root file system to the container's root. */
  own(base = HOST_BASE): void {
    const give = (path: string): void => {
      lchownSync(path, base, base);
      for (const entry of readdirSync(path, { withFileTypes: true })) {
        const child = join(path, entry.name);
        if (entry.isDirectory()) give(child);
        else lchownSync(child, base, base);
      }
    };
    give(this.rootfs);
  }

  /** Directory in the root file system, owned by the container's root. */
  makeDir(path: string): string {
    const full = join(this.rootfs, path);
    mkdirSync(full, { recursive: true });
    chownSync(full, HOST_BASE, HOST_BASE);
    return full;
  }

  /** The default config: every namespace, Docker's capabilities and mounts; runs the probe with `ops`. */
  config(ops: string[]): OciConfig {
    return {
      ociVersion: '1.0.2',
      process: {
        user: { uid: 0, gid: 0 },
        args: ['/probe', ...ops],
        env: ['PATH=/bin'],
        cwd: '/',
        noNewPrivileges: true,
        capabilities: { bounding: DOCKER_CAPS, effective: DOCKER_CAPS, permitted: DOCKER_CAPS },
      },
      root: { path: 'rootfs' },
      hostname: 'box',
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
        {
          destination: '/dev/pts',
          type: 'devpts',
          source: 'devpts',
          options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
        },
        {
          destination: '/dev/shm',
          type: 'tmpfs',
          source: 'shm',
          options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
        },
        { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
        { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
        { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      ],
      linux: {
        uidMappings: [{ containerID: 0, hostID: HOST_BASE, size: 65536 }],
        gidMappings: [{ containerID: 0, hostID: HOST_BASE, size: 65536 }],
        namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'user', 'cgroup'].map((type) => ({ type })),
        resources: {},
        cgroupsPath: this.cgroupsPath,
        maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/timer_list', '/sys/firmware'],
        readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
      },
    };
  }

  write(config: unknown): void {
    writeFileSync(join(this.dir, 'config.json'), JSON.stringify(config));
  }

  /** Runs berth-runtime. Its output goes to files, since a created container keeps the descriptors. */
  runtime(args: string[], options: { env?: NodeJS.ProcessEnv; stdin?: number; globals?: string[] } = {}): Outcome {
    const out = join(this.dir, 'stdout');
    const err = join(this.dir, 'stderr');
    const fds = [options.stdin ?? openSync('/dev/null', 'r'), openSync(out, 'w'), openSync(err, 'w')];
    const { status } = spawnSync(this.runtimeFile, ['--root', this.stateRoot, ...(options.globals ?? []), ...args], {
      stdio: fds,
      env: options.env ?? process.env,
      timeout: 25_000,
    });
    for (const fd of fds) if (fd !== options.stdin) closeSync(fd);
    return { status, ...this.output() };
  }

  /** What the container and the runtime have written so far. */
  output(): Omit<Outcome, 'status'> {
    const stdout = readFileSync(join(this.dir, 'stdout'), 'utf8');
    return {
      stdout,
      stderr: readFileSync(join(this.dir, 'stderr'), 'utf8'),
      lines: stdout
        .split('\n')
        .filter((line) => line.startsWith('{"op"') && line.endsWith('}'))
        .map((line) => JSON.parse(line) as ProbeLine),
    };
  }

  /** `run` with the probe doing `ops`, after `change` had its way with the default config. */
  run(ops: string[], change: (config: OciConfig) => void = () => {}): Outcome {
    const config = this.config(ops);
    change(config);
    this.write(config);
    return this.runtime(['run', '--bundle', this.dir, this.id]);
  }

  create(ops: string[], change: (config: OciConfig) => void = () => {}): Outcome {
    const config = this.config(ops);
    change(config);
    this.write(config);
    return this.runtime(['create', '--bundle', this.dir, '--pid-file', join(this.dir, 'pid'), this.id]);
  }

  pid(): number {
    return Number(readFileSync(join(this.dir, 'pid'), 'utf8'));
  }

  state(): { status: string; pid: number } & Record<string, unknown> {
    const saved = this.output().stdout;
    const outcome = this.runtime(['state', this.id]);
    writeFileSync(join(this.dir, 'stdout'), saved);
    if (outcome.status !== 0) throw new Error(outcome.stderr);
    return JSON.parse(outcome.stdout);
  }

  /** Every cgroup directory of this container that exists now. */
  cgroups(): string[] {
    return hierarchies()
      .map(({ mount }) => mount + this.cgroupsPath)
      .filter((dir) => existsSync(dir));
  }

  /** What a container that is gone must not have left: cgroups and state. */
  leftovers(): string[] {
    return [...this.cgroups(), ...(existsSync(this.stateRoot) ? readdirSync(this.stateRoot) : [])];
  }

  dispose(): void {
    this.runtime(['delete', '--force', this.id]);
    for (const { mount } of hierarchies()) removeUnusedCgroup(join(mount, `berth-test-${process.pid}`));
    for (const { mount } of hierarchies()) removeUnusedCgroup(join(mount, 'berth'));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Removes a cgroup above containers' own, unless another container is still in it. */
export function removeUnusedCgroup(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Not there, or in use.
  }
}

/** Controllers by mounted hierarchy: `v2` has them from cgroup.controllers. */
export function hierarchies(): { mount: string; v2: boolean; controllers: string[] }[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [left, right] = line.split(' - ');
      const mount = left?.split(' ')[4];
      const [type, , options] = right?.split(' ') ?? [];
      if (!mount?.startsWith('/sys/fs/cgroup') || (type !== 'cgroup' && type !== 'cgroup2')) return [];
      const v2 = type === 'cgroup2';
      const controllers = v2 ? readFileSync(join(mount, 'cgroup.controllers'), 'utf8').trim().split(' ') : (options ?? '').split(',');
      return [{ mount, v2, controllers }];
    });
}

/** The hierarchy of a controller. */
export function hierarchyOf(controller: string): { mount: string; v2: boolean } {
  const found = hierarchies().find(({ controllers }) => controllers.includes(controller));
  if (!found) throw new Error(`no cgroup hierarchy has ${controller}`);
  return found;
}

/** The probe's report among its lines. */
export function reportOf(outcome: Pick<Outcome, 'lines' | 'stderr'>): Report {
  const line = outcome.lines.find(({ op }) => op === 'report');
  if (!line) throw new Error(`no report: ${outcome.stderr}`);
  return line as unknown as Report;
}

/** Waits until `test` holds, at most 10 s. */
export async function eventually(test: () => boolean, what: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; !test(); ) {
    if (Date.now() > deadline) throw new Error(`still not: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Value of a `Key:\tvalue` line of /proc/PID/status. */
export function statusField(status: string, key: string): string {
  return new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
}

/** Without a user namespace the container's root is the host's: for what only then can be tried. */
export function asHostRoot(config: OciConfig): void {
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'user');
  delete config.linux.uidMappings;
  delete config.linux.gidMappings;
}

/** Runs a shell command in a terminal of 33 rows and 77 columns and types a line once `prompt` shows; what the terminal showed. */
export async function inTerminal(command: string, prompt: string, line: string): Promise<string> {
  const script = spawn('script', ['-qec', `stty rows 33 cols 77; ${command}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  script.stdout.on('data', (chunk) => {
    text += chunk;
    if (text.includes(prompt) && !script.stdin.writableEnded) script.stdin.end(`${line}\r`);
  });
  await new Promise((done, failed) => script.once('close', done).once('error', failed));
  return text;
}

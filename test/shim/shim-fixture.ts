import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, readlink, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The repository's root, seen from `test/dist/shim`. */
export const repository = fileURLToPath(new URL('../../../', import.meta.url));

const nativeDir = process.env.BERTH_NATIVE_DIR ?? join(repository, 'native/build');
export const shimPath = join(nativeDir, 'berth-shim');
/** Always the release: a sanitized one loads libraries, which containers do not have. */
export const initPath = join(repository, 'native/build/berth-init');
/** Whether the shim under test is built with sanitizers, whose bookkeeping takes megabytes. */
export const sanitized = nativeDir.endsWith('/san');

/** Whether the machine is an emulated one, where everything takes many times as long. */
export const slowMachine = process.env.BERTH_TEST_MACHINE === 'qemu';

/** A time that a container must get through its first steps in. */
export const ample = (ms: number): number => (slowMachine ? ms * 12 : ms);

/** Absolute path of a program, or undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/bin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const ours = join(nativeDir, 'berth-runtime');

/** The runtime that the tests drive: `BERTH_TEST_RUNTIME`, else Berth's own, else runc. */
export const runtimePath = process.env.BERTH_TEST_RUNTIME ?? (existsSync(ours) ? ours : (findProgram('runc') ?? ours));

/** What a container runs, and how. */
export interface ContainerOptions {
  /** A shell script for busybox, or an argument vector. */
  command: string | string[];
  /** Files of the root filesystem, by absolute path. */
  files?: Record<string, Buffer>;
  memoryBytes?: number;
  /** Share the host's PID namespace, so that the container's processes do not die with its first. */
  hostPids?: boolean;
  /** Map the container's root to this uid and gid of the host. */
  mapRootTo?: number;
  /** Mount berth-init at /dev/init. */
  init?: boolean;
}

export interface ShimOptions extends ContainerOptions {
  id?: string;
  runtime?: string;
  /** Where the shim keeps its files instead of in a fresh directory. */
  dir?: string;
  /** Further options of the shim, such as `['--timeout-ms', '500']`. */
  flags?: string[];
}

/** The content of exit.json. */
export interface ExitRecord {
  exitCode: number | null;
  signal: number | null;
  oomKilled: boolean;
  stoppedBy: 'request' | 'timeout' | 'lease' | null;
  startedAt: string;
  finishedAt: string;
  peakMemoryBytes: number | null;
  cpuTimeUs: number | null;
  logBytes: number;
  logDroppedBytes: number;
}

export interface LogRecord {
  time: string;
  stream: 'stdout' | 'stderr';
  tag: 'F' | 'P';
  bytes: Buffer;
}

/** Splits a log in the CRI format; throws at the first record that is not of it. */
export function parseLog(log: Buffer): LogRecord[] {
  const records: LogRecord[] = [];
  for (let at = 0; at < log.length; ) {
    const end = log.indexOf(0x0a, at);
    if (end < 0) throw new Error(`torn record at ${at}`);
    const head = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) /.exec(
      log.toString('latin1', at, Math.min(at + 64, end)),
    );
    if (!head) throw new Error(`malformed record at ${at}: ${log.toString('latin1', at, at + 80)}`);
    const [text, time, stream, tag] = head as unknown as [string, string, LogRecord['stream'], LogRecord['tag']];
    records.push({ time, stream, tag, bytes: log.subarray(at + text.length, end) });
    at = end + 1;
  }
  return records;
}

/** The bytes that the container wrote to one stream, as its records tell them. */
export function outputOf(records: LogRecord[], stream: LogRecord['stream']): Buffer {
  return Buffer.concat(
    records.filter((r) => r.stream === stream).flatMap((r) => (r.tag === 'F' ? [r.bytes, Buffer.from('\n')] : [r.bytes])),
  );
}

/** Waits until `holds` is true; the test's own time limit ends a wait in vain. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(10);
}

/** Whether the process exists and is no zombie. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    return !['Z', 'X'].includes(stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3));
  } catch {
    return false;
  }
}

function ociConfig(id: string, o: ContainerOptions): unknown {
  const argv = typeof o.command === 'string' ? ['/bin/sh', '-c', o.command] : o.command;
  const namespaces = [
    'mount',
    'ipc',
    'uts',
    'network',
    'cgroup',
    ...(o.hostPids ? [] : ['pid']),
    ...(o.mapRootTo === undefined ? [] : ['user']),
  ];
  const map = o.mapRootTo === undefined ? undefined : [{ containerID: 0, hostID: o.mapRootTo, size: 65536 }];
  const caps = ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_KILL', 'CAP_SETUID', 'CAP_SETGID'];
  return {
    ociVersion: '1.0.2',
    hostname: 'shim-test',
    root: { path: 'rootfs', readonly: true },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: o.init ? ['/dev/init', '--', ...argv] : argv,
      env: ['PATH=/bin'],
      cwd: '/',
      noNewPrivileges: true,
      capabilities: { bounding: caps, effective: caps, permitted: caps },
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'size=16m'] },
      ...(o.init ? [{ destination: '/dev/init', type: 'bind', source: initPath, options: ['bind', 'ro', 'nosuid', 'nodev'] }] : []),
    ],
    linux: {
      cgroupsPath: `/berth/${id}`,
      namespaces: namespaces.map((type) => ({ type })),
      ...(map ? { uidMappings: map, gidMappings: map } : {}),
      resources: {
        devices: [{ allow: false, access: 'rwm' }],
        pids: { limit: 64 },
        ...(o.memoryBytes === undefined ? {} : { memory: { limit: o.memoryBytes, swap: o.memoryBytes } }),
      },
    },
  };
}

let count = 0;

/** A container under a shim, or the attempt to start one. */
export class Shim {
  /** What the invoking process printed and how it exited. */
  answer: { pid: number; startedAt: string } | { error: string } = { error: 'not started' };
  exitCode: number | null = null;

  constructor(
    readonly id: string,
    readonly home: string,
    readonly dir: string,
    readonly argv: string[],
  ) {}

  /** The container's first process. */
  get pid(): number {
    if ('error' in this.answer) throw new Error(this.answer.error);
    return this.answer.pid;
  }

  /** The shim's own pid, from shim.json. */
  async shimPid(): Promise<number> {
    return JSON.parse(await readFile(join(this.dir, 'shim.json'), 'utf8')).pid;
  }

  spawn(): ChildProcess {
    return spawn(shimPath, this.argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  }

  /** Invokes the shim and waits for the invoked process, not for the container. */
  async start(): Promise<this> {
    const child = this.spawn();
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    this.exitCode = await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => resolve(code));
    });
    this.answer = JSON.parse(text);
    return this;
  }

  /** Sends requests over one connection; gives one parsed answer each. */
  ask(...requests: unknown[]): Promise<unknown[]> {
    return this.askLines(requests.map((request) => JSON.stringify(request)));
  }

  askLines(lines: string[]): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      const socket = connect(join(this.dir, 'shim.sock'));
      let text = '';
      socket.on('error', reject);
      socket.on('data', (chunk) => {
        text += chunk.toString();
        if (text.split('\n').length > lines.length) socket.end();
      });
      socket.on('close', () =>
        resolve(
          text
            .trimEnd()
            .split('\n')
            .filter(Boolean)
            .map((line) => JSON.parse(line)),
        ),
      );
      socket.write(lines.map((line) => `${line}\n`).join(''));
    });
  }

  /** Waits for the shim's own end and gives the exit record. */
  async ended(): Promise<ExitRecord> {
    const pid = await this.shimPid();
    await until(async () => !(await isAlive(pid)));
    return this.record();
  }

  async record(): Promise<ExitRecord> {
    return JSON.parse(await readFile(join(this.dir, 'exit.json'), 'utf8'));
  }

  async log(): Promise<LogRecord[]> {
    return parseLog(await readFile(join(this.dir, 'log')));
  }
}

/** Containers of one test file: made here, and cleared away whatever became of them. */
export class ShimBench {
  private readonly shims: Shim[] = [];

  private constructor(readonly home: string) {}

  static async open(): Promise<ShimBench> {
    return new ShimBench(await mkdtemp(join(tmpdir(), 'berth-shim-')));
  }

  get runtimeRoot(): string {
    return join(this.home, 'runtime');
  }

  /** Writes the bundle and prepares the command line. */
  async prepare(o: ShimOptions): Promise<Shim> {
    const id = o.id ?? `shimtest-${process.pid}-${++count}`;
    const home = await mkdtemp(join(this.home, 'c-'));
    const rootfs = join(home, 'rootfs');
    for (const folder of ['bin', 'proc', 'dev', 'tmp']) await mkdir(join(rootfs, folder), { recursive: true });
    await copyFile(findProgram('busybox') ?? 'busybox', join(rootfs, 'bin/busybox'));
    for (const applet of ['sh', 'sleep', 'cat', 'dd', 'tr', 'ls', 'head', 'ps', 'kill', 'env', 'tail', 'usleep', 'setsid', 'yes']) {
      await symlink('busybox', join(rootfs, 'bin', applet));
    }
    for (const [path, content] of Object.entries(o.files ?? {})) {
      await mkdir(dirname(join(rootfs, path)), { recursive: true });
      await writeFile(join(rootfs, path), content);
    }
    if (o.mapRootTo !== undefined) await openToAll(this.home, home);
    await writeFile(join(home, 'config.json'), JSON.stringify(ociConfig(id, o)));
    const dir = o.dir ?? join(home, 'shim');
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const argv = ['--id', id, '--runtime', o.runtime ?? runtimePath, '--runtime-root', this.runtimeRoot, '--bundle', home];
    const shim = new Shim(id, home, dir, [...argv, '--dir', dir, '--cgroup', `/berth/${id}`, ...(o.flags ?? [])]);
    this.shims.push(shim);
    return shim;
  }

  /** Starts a container, or shows how the shim refuses. */
  async attempt(o: ShimOptions): Promise<Shim> {
    return (await this.prepare(o)).start();
  }

  /** Starts a container that must start. */
  async start(o: ShimOptions): Promise<Shim> {
    const shim = await this.attempt(o);
    if ('error' in shim.answer) throw new Error(`the container did not start: ${shim.answer.error}`);
    return shim;
  }

  /** Starts a container and gives what became of it. */
  async runToEnd(o: ShimOptions): Promise<{ shim: Shim; record: ExitRecord; log: LogRecord[] }> {
    const shim = await this.start(o);
    const record = await shim.ended();
    return { shim, record, log: await shim.log() };
  }

  /** Ends what a failed test left running, and removes every file. */
  async close(): Promise<void> {
    for (const shim of this.shims) {
      const pid = await shim.shimPid().catch(() => undefined);
      if (pid === undefined || !(await isAlive(pid)) || !(await isShim(pid))) continue;
      await shim.ask({ op: 'stop', graceMs: 0 }).catch(() => []);
      await until(async () => !(await isAlive(pid)));
    }
    await rm(this.home, { recursive: true, force: true });
    // Stays where another container is in it.
    for (const parent of await cgroupsOf('')) await rmdir(parent).catch(() => {});
  }
}

async function isShim(pid: number): Promise<boolean> {
  return (await readlink(`/proc/${pid}/exe`).catch(() => '')).startsWith(shimPath);
}

/** A container's root that is nobody on the host must be able to walk to its root filesystem. */
async function openToAll(...folders: string[]): Promise<void> {
  for (const folder of folders) await run('chmod', ['711', folder]);
}

/** Directories named `name` under any cgroup hierarchy's /berth. */
export async function cgroupsOf(name: string): Promise<string[]> {
  const mounts = (await readFile('/proc/self/mountinfo', 'latin1')).split('\n').filter((line) => / - cgroup2? /.test(line));
  return mounts.map((line) => join(line.split(' ')[4] ?? '', 'berth', name)).filter((path) => existsSync(path));
}

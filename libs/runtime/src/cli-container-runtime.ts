import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContainerRuntime, type ContainerState, type ContainerStatus, RuntimeError } from './container-runtime.js';

const commandTimeoutMs = 30_000;
const states: readonly string[] = ['creating', 'created', 'running', 'stopped'];

/** Drives a runtime that has runc's command line: berth-runtime, runc, crun, runsc. */
export class CliContainerRuntime extends ContainerRuntime {
  /**
   * `program` is an absolute path or a name on PATH; `root` is where it keeps its state, and lists exactly this object's containers; `globalArguments`
   * stand before each verb.
   */
  constructor(
    readonly program: string,
    readonly root: string,
    private readonly globalArguments: readonly string[] = [],
  ) {
    super();
  }

  /** The container has nothing to read, and its output is dropped; a shim gives it other streams. */
  override async create(id: string, bundle: string): Promise<void> {
    // The container inherits what the runtime has, so nothing of it may lead here: the runtime complains to a file.
    const folder = await mkdtemp(join(tmpdir(), 'berth-runtime-log-'));
    const log = join(folder, 'log');
    // No /dev/null: gVisor gives its streams to the user that it runs as, and this one is the machine's.
    const output = await open(join(folder, 'output'), 'w');
    try {
      const child = spawn(this.program, [...this.leading, '--log', log, '--log-format', 'json', 'create', '--bundle', bundle, id], {
        cwd: '/',
        env: { PATH: process.env.PATH },
        stdio: ['pipe', output.fd, output.fd],
        timeout: commandTimeoutMs,
        killSignal: 'SIGKILL',
      });
      child.stdin?.on('error', () => {}).end();
      const [code, signal] = (await once(child, 'exit').catch((cause: Error) => {
        throw new RuntimeError(cause.message, { cause });
      })) as [number | null, NodeJS.Signals | null];
      if (code === 0) return;
      const complaint = lastMessage(await readFile(log, 'utf8').catch(() => ''));
      throw new RuntimeError(complaint || `the runtime's create ended with ${code ?? signal}`);
    } finally {
      await output.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  override async start(id: string): Promise<void> {
    await this.command(['start', id]);
  }

  /** Each container is a folder of the root, or with gVisor a file `ID_sandbox:SANDBOX.state`: no process has to be started for this. */
  override async list(): Promise<readonly string[]> {
    try {
      const entries = await readdir(this.root, { withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile()).map((entry) => /^(.+)_sandbox:.+\.state$/.exec(entry.name)?.[1]);
      return [...entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name), ...files.filter((id) => id !== undefined)];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  override async state(id: string): Promise<ContainerStatus | null> {
    let text: string;
    try {
      text = await this.command(['state', id]);
    } catch (error) {
      // Runtimes word "does not exist" each in their own way; all keep a container's state under its id.
      if (!(await this.list()).includes(id)) return null;
      throw error;
    }
    return parseStatus(text);
  }

  override async kill(id: string, signal: number, options: { readonly all?: boolean } = {}): Promise<void> {
    await this.command(['kill', ...(options.all ? ['--all'] : []), id, String(signal)]);
  }

  override async pause(id: string): Promise<void> {
    await this.command(['pause', id]);
  }

  override async resume(id: string): Promise<void> {
    await this.command(['resume', id]);
  }

  override async delete(id: string, options: { readonly force?: boolean } = {}): Promise<void> {
    await this.command(['delete', ...(options.force ? ['--force'] : []), id]);
  }

  private get leading(): string[] {
    return ['--root', this.root, ...this.globalArguments];
  }

  private command(args: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      execFile(
        this.program,
        [...this.leading, ...args],
        { cwd: '/', env: { PATH: process.env.PATH }, timeout: commandTimeoutMs, killSignal: 'SIGKILL', maxBuffer: 4 * 1024 * 1024 },
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else reject(new RuntimeError(lastLine(stderr) || error.message, { cause: error }));
        },
      );
    });
  }
}

function parseStatus(text: string): ContainerStatus {
  const value = JSON.parse(text) as Record<string, unknown>;
  if (typeof value.status !== 'string' || !states.includes(value.status)) {
    throw new RuntimeError(`the runtime answered an unknown state: ${String(value.status)}`);
  }
  return {
    id: String(value.id),
    state: value.status as ContainerState,
    pid: typeof value.pid === 'number' ? value.pid : 0,
    bundle: String(value.bundle),
  };
}

/** The message of the last record of a runtime's log in JSON. */
function lastMessage(log: string): string {
  try {
    const record = JSON.parse(lastLine(log)) as { msg?: unknown };
    return typeof record.msg === 'string' ? record.msg : '';
  } catch {
    return '';
  }
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1)?.trim() ?? '';
}

import { spawn } from 'node:child_process';
import { type ShimLaunch, ShimLaunchError, ShimLauncher, type ShimStarted } from './shim-launcher.js';

const maxAnswerBytes = 64 * 1024;

/** Starts berth-shim as a child, which detaches itself and answers one line of JSON. */
export class SpawnShimLauncher extends ShimLauncher {
  /** `shim` is the program's absolute path. A launch that takes longer than `timeoutMs` throws; the caller then deletes the container by force. */
  constructor(
    private readonly shim: string,
    private readonly timeoutMs: number = 60_000,
  ) {
    super();
  }

  override async close(): Promise<void> {}

  override launch(launch: ShimLaunch): Promise<ShimStarted> {
    return this.run(shimArguments(launch), parseAnswer);
  }

  override park(launch: ShimLaunch, how: 'root' | 'bare'): Promise<void> {
    return this.run([...shimArguments(launch), '--park', how], parseParked);
  }

  private run<T>(args: readonly string[], parse: (answer: string, complaint: string) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      // A session of its own: a Ctrl-C for the agent's terminal must not reach a shim that has not detached yet.
      // And an environment of its own: the agent's holds secrets, and the shim hands its own to the runtime.
      const env = { PATH: process.env.PATH };
      const child = spawn(this.shim, args, { cwd: '/', detached: true, env, stdio: ['ignore', 'pipe', 'pipe'] });
      let answer = '';
      let complaint = '';
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new ShimLaunchError(`the shim did not answer within ${this.timeoutMs} ms`));
      }, this.timeoutMs);
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (answer.length < maxAnswerBytes) answer += text;
        if (!answer.includes('\n')) return;
        // The line is the whole answer; the shim may take its time to close the pipe.
        settle();
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        if (complaint.length < maxAnswerBytes) complaint += text;
      });
      child.on('error', (error) => {
        clearTimeout(timer);
        reject(new ShimLaunchError(`the shim cannot be started: ${error.message}`, { cause: error }));
      });
      child.on('close', () => settle());

      const settle = (): void => {
        clearTimeout(timer);
        child.stdout.destroy();
        child.stderr.destroy();
        try {
          resolve(parse(answer, complaint));
        } catch (error) {
          reject(error);
        }
      };
    });
  }
}

/** The command line of docs/contracts.md. */
export function shimArguments(launch: ShimLaunch): string[] {
  return [
    ...['--id', launch.id],
    ...['--runtime', launch.runtime],
    ...['--runtime-root', launch.runtimeRoot],
    ...launch.runtimeArguments.flatMap((argument) => ['--runtime-arg', argument]),
    ...['--bundle', launch.bundle],
    ...['--dir', launch.directory],
    ...['--cgroup', launch.cgroupsPath],
    ...['--timeout-ms', String(launch.timeoutMs)],
    ...['--stop-grace-ms', String(launch.stopGraceMs)],
    ...['--stop-signal', String(launch.stopSignal)],
    ...['--log-max-bytes', String(launch.logMaxBytes)],
    ...(launch.leaseFile === null ? [] : ['--lease', launch.leaseFile]),
  ];
}

/** Reads the shim's line; `complaint` is what it wrote to stderr, for a shim that broke off without an answer. */
export function parseAnswer(answer: string, complaint: string): ShimStarted {
  const value = readAnswer(answer, complaint);
  if (!Number.isSafeInteger(value.pid) || typeof value.startedAt !== 'string') throw new ShimLaunchError('the shim gave no usable answer');
  return { pid: value.pid as number, startedAt: value.startedAt };
}

/** The same of a shim that was to park a container. */
export function parseParked(answer: string, complaint: string): void {
  if (!Number.isSafeInteger(readAnswer(answer, complaint).parked)) throw new ShimLaunchError('the shim gave no usable answer');
}

function readAnswer(answer: string, complaint: string): Record<string, unknown> {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(answer.split('\n', 1)[0] ?? '') as Record<string, unknown>;
  } catch {
    throw new ShimLaunchError(complaint.trim().slice(-1000) || 'the shim gave no answer');
  }
  if (typeof value !== 'object' || value === null) throw new ShimLaunchError('the shim gave no usable answer');
  if (typeof value.error === 'string') throw new ShimLaunchError(value.error);
  return value;
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LauncherConnection, LauncherLost } from './launcher-connection.js';
import { isAlive } from './process-identity.js';
import { ShimDirectory } from './shim-directory.js';
import { type ShimLaunch, ShimLaunchError, ShimLauncher, type ShimStarted } from './shim-launcher.js';
import { ShimSocket, ShimSocketError } from './shim-socket.js';
import { parseAnswer, parseParked, SpawnShimLauncher, shimArguments } from './spawn-shim-launcher.js';

/** After a launcher was lost, so long without one. */
const restMs = 1_000;
const readyMs = 5_000;
const adoptPollMs = 20;
/** A shim that was just started has written its name by then. */
const nameMs = 5_000;
const launchMs = 60_000;

interface Launcher {
  readonly child: ChildProcess;
  readonly connection: LauncherConnection;
}

/**
 * Starts shims through berth-launcher, a small process beside this one, so that this one need not be forked. INVARIANTS
 *   - the launcher keeps nothing: it may be killed or stopped at any moment, and the next is started when it is wanted;
 *   - without one every container starts all the same, by a fork of this process;
 *   - no launch happens twice, whoever is lost in its middle: the shim that makes its directory's log is the only one that goes on.
 */
export class ResidentShimLauncher extends ShimLauncher {
  readonly #direct: SpawnShimLauncher;
  #launcher: Promise<Launcher | null> | null = null;
  #closed = false;

  /** `nativeDir` holds berth-launcher and berth-shim; the launcher's socket is made in `directory`, a folder of its own. */
  constructor(
    private readonly nativeDir: string,
    private readonly directory: string,
  ) {
    super();
    this.#direct = new SpawnShimLauncher(join(nativeDir, 'berth-shim'), launchMs);
  }

  /** The launcher's process id; null while there is none. Starts one where there should be. */
  async pid(): Promise<number | null> {
    return (await this.launcher())?.child.pid ?? null;
  }

  override async launch(launch: ShimLaunch): Promise<ShimStarted> {
    const launcher = await this.launcher();
    if (launcher === null) return this.#direct.launch(launch);
    try {
      const { stdout, stderr } = await launcher.connection.run('berth-shim', shimArguments(launch), launchMs);
      return parseAnswer(stdout, stderr);
    } catch (error) {
      if (error instanceof ShimLaunchError) throw error;
      if (!(error instanceof LauncherLost)) throw new ShimLaunchError((error as Error).message, { cause: error });
      this.lose(launcher);
      return this.takeOver(launch);
    }
  }

  /** Through the launcher alone: nobody waits for it, so nothing is carried on when that is lost. */
  override async park(launch: ShimLaunch, how: 'root' | 'bare'): Promise<void> {
    const launcher = await this.launcher();
    if (launcher === null) throw new ShimLaunchError('there is no launcher now');
    try {
      const { stdout, stderr } = await launcher.connection.run('berth-shim', [...shimArguments(launch), '--park', how], launchMs);
      parseParked(stdout, stderr);
    } catch (error) {
      if (error instanceof LauncherLost) this.lose(launcher);
      throw error instanceof ShimLaunchError ? error : new ShimLaunchError((error as Error).message, { cause: error });
    }
  }

  override async close(): Promise<void> {
    this.#closed = true;
    const launcher = await this.#launcher;
    launcher?.connection.close();
    launcher?.child.stdin?.end();
  }

  private launcher(): Promise<Launcher | null> {
    if (this.#closed) return Promise.resolve(null);
    this.#launcher ??= this.start().catch(() => {
      this.rest();
      return null;
    });
    return this.#launcher;
  }

  private async start(): Promise<Launcher> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const socket = join(this.directory, 'launcher.sock');
    const child = spawn(join(this.nativeDir, 'berth-launcher'), ['--socket', socket, '--programs', this.nativeDir], {
      cwd: '/',
      // A session of its own, out of reach of a terminal's signals; and nothing of this process's environment, which holds secrets.
      detached: true,
      env: { PATH: process.env.PATH },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    child.on('error', () => {});
    child.stdin.on('error', () => {});
    try {
      const ready = AbortSignal.timeout(readyMs);
      await Promise.race([
        once(child.stdout, 'data', { signal: ready }),
        once(child, 'close', { signal: ready }).then(() => {
          throw new LauncherLost('the launcher ended');
        }),
      ]);
      const launcher = { child, connection: await LauncherConnection.open(socket) };
      child.once('close', () => this.lose(launcher));
      for (const handle of [child, child.stdin, child.stdout]) (handle as { unref?: () => void }).unref?.();
      return launcher;
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** Forgets a launcher that is gone or stuck. One that was only stuck must not start anything any more. */
  private lose(launcher: Launcher): void {
    launcher.connection.close();
    launcher.child.kill('SIGKILL');
    void this.#launcher?.then((current) => {
      if (current === launcher) this.rest();
    });
  }

  private rest(): void {
    this.#launcher = Promise.resolve(null);
    setTimeout(() => {
      this.#launcher = null;
    }, restMs).unref();
  }

  /** Carries on a launch whose launcher was lost: takes the shim that it has started, or starts one. */
  private async takeOver(launch: ShimLaunch): Promise<ShimStarted> {
    if (!(await exists(join(launch.directory, 'log')))) {
      try {
        return await this.#direct.launch(launch);
      } catch (error) {
        // The lost launcher's shim may have come first after all.
        const adopted = await adopt(launch);
        if (adopted === null) throw error;
        return adopted;
      }
    }
    const adopted = await adopt(launch);
    if (adopted === null) throw new ShimLaunchError('the shim ended with its launcher');
    return adopted;
  }
}

/** The container of a shim that another has started, once it runs; null when it did not come to that. */
async function adopt(launch: ShimLaunch): Promise<ShimStarted | null> {
  const directory = new ShimDirectory(launch.directory);
  const socket = new ShimSocket(directory.socketPath);
  for (let waitedMs = 0; waitedMs < launchMs; waitedMs += adoptPollMs) {
    // The name is read once: one that is written while this looks is not yet known as dead.
    const shim = await directory.shim();
    const alive = shim !== null && (await isAlive(shim));
    // After the look at the shim: it writes its record before it ends.
    const exit = await directory.exit();
    if (exit !== null) return { pid: 0, startedAt: exit.startedAt ?? exit.finishedAt };
    if (!alive && (waitedMs > nameMs || shim !== null)) return null;
    try {
      const { state, pid } = await socket.status();
      if (state === 'running') return { pid, startedAt: new Date().toISOString() };
    } catch (error) {
      if (!(error instanceof ShimSocketError)) throw error;
    }
    await sleep(adoptPollMs);
  }
  return null;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, type ProcessIdentity } from './process-identity.js';
import { parseShimExit, type ShimExit } from './shim-exit.js';

/** The directory in which a shim writes what outlives it (docs/contracts.md, "berth-shim"). */
export class ShimDirectory {
  constructor(readonly path: string) {}

  get socketPath(): string {
    return join(this.path, 'shim.sock');
  }

  get logPath(): string {
    return join(this.path, 'log');
  }

  /** The exit record; null while there is none. */
  async exit(): Promise<ShimExit | null> {
    const text = await readIfPresent(join(this.path, 'exit.json'));
    return text === null ? null : parseShimExit(JSON.parse(text));
  }

  /** The shim itself; null before it has written its name. */
  async shim(): Promise<ProcessIdentity | null> {
    const text = await readIfPresent(join(this.path, 'shim.json'));
    if (text === null) return null;
    const value = JSON.parse(text) as Partial<ProcessIdentity>;
    if (!Number.isSafeInteger(value.pid) || !Number.isSafeInteger(value.startTime)) throw new TypeError('shim.json names no process');
    return { pid: value.pid as number, startTime: value.startTime as number };
  }

  /** Forgets which process the shim was: after a reboot its id is another's. */
  async forgetShim(): Promise<void> {
    await rm(join(this.path, 'shim.json'), { force: true });
  }

  /** Whether the shim runs. Only meaningful for a shim that was started since this machine booted. */
  async isShimAlive(): Promise<boolean> {
    const shim = await this.shim();
    return shim !== null && (await isAlive(shim));
  }
}

async function readIfPresent(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildConfig, idRangeOfSlot, type OciSeccomp } from '@berth/core';
import { ShimDirectory, type ShimLaunch } from '@berth/runtime';

const MiB = 1024 * 1024;

/** Bundles of containers as the agent starts them, everything on, over one read-only root filesystem whose program does nothing. */
export class SandboxRig {
  readonly #rootfs: string;
  readonly #seccomp: OciSeccomp;
  readonly #configs = new Map<string, string>();
  #made = 0;

  constructor(
    private readonly directory: string,
    private readonly native: string,
  ) {
    this.#rootfs = join(directory, 'rootfs');
    this.#seccomp = JSON.parse(readFileSync(join(native, '../seccomp/default.json'), 'utf8')) as OciSeccomp;
    for (const folder of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(this.#rootfs, folder), { recursive: true });
    copyFileSync(join(native, 'test/true'), join(this.#rootfs, 'bin/true'));
    for (const name of ['resolv.conf', 'hosts', 'hostname']) {
      writeFileSync(join(this.#rootfs, 'etc', name), '');
      writeFileSync(join(directory, name), '');
    }
  }

  /** A container that was not there before, and what to tell a shim of it. `args` go to its program. Parked bare, it is told of limits and mounts by `complete`. */
  make(args: readonly string[], park?: 'root' | 'bare'): ShimLaunch {
    const id = `bench-${process.pid}-${this.#made++}`;
    const bundle = join(this.directory, id);
    mkdirSync(join(bundle, 'shim'), { recursive: true, mode: 0o711 });
    const cgroupsPath = `/berth-bench-${process.pid}/${id}`;
    const config = buildConfig({
      id,
      process: {
        args: ['/bin/true', ...args],
        env: ['PATH=/bin'],
        cwd: '/',
        user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
        stopSignal: 15,
      },
      hostname: 'bench',
      rootfs: this.#rootfs,
      readOnlyRootfs: true,
      ids: idRangeOfSlot(0),
      limits: { cpuMillis: 1000, memoryBytes: 64 * MiB, pids: 64, shmBytes: MiB },
      cgroupsPath,
      files: {
        resolvConf: join(this.directory, 'resolv.conf'),
        hosts: join(this.directory, 'hosts'),
        hostname: join(this.directory, 'hostname'),
      },
      init: null,
      seccomp: this.#seccomp,
      networkHook: null,
      maxOpenFiles: 1024,
      swapAccounting: false,
    });
    if (park !== undefined) this.#configs.set(id, JSON.stringify(config));
    const template = park === 'bare' ? { ...config, mounts: [], linux: { ...config.linux, resources: {} } } : config;
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(template));
    return {
      id,
      runtime: join(this.native, 'berth-runtime'),
      runtimeRoot: join(this.directory, 'state/berth'),
      runtimeArguments: [],
      bundle,
      directory: join(bundle, 'shim'),
      cgroupsPath,
      timeoutMs: 600_000,
      stopGraceMs: 0,
      stopSignal: 9,
      logMaxBytes: MiB,
      leaseFile: null,
    };
  }

  /** Writes the whole config of a container that was made to be parked. */
  complete(launch: ShimLaunch): void {
    writeFileSync(join(launch.bundle, 'config.json'), this.#configs.get(launch.id) ?? '');
    this.#configs.delete(launch.id);
  }

  /** Waits until the exit record can be read; returns when that was, in milliseconds of `performance`. Then waits for the rest of it to go. */
  async ended(launch: ShimLaunch): Promise<number> {
    const shim = new ShimDirectory(launch.directory);
    while ((await shim.exit()) === null) await sleep(1);
    const at = performance.now();
    while (await shim.isShimAlive()) await sleep(2);
    rmSync(launch.bundle, { recursive: true, force: true });
    return at;
  }
}

/** Bytes of a process that no other shares (proc(5), smaps_rollup). */
export async function privateBytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
  return [...text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB/gm)].reduce((sum, found) => sum + Number(found[1]) * 1024, 0);
}

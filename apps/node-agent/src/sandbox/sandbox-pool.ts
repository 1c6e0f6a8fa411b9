import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildConfig, idRangeOfSlot, type OciSeccomp } from '@berth/core';
import { ParkedShim, ShimDirectory, type ShimLauncher } from '@berth/runtime';
import type { Logger } from 'pino';
import type { HostFacts } from '../host/host-facts.js';
import type { Egress } from '../network/egress.js';
import type { NodeRuntime } from '../runtimes/node-runtimes.js';
import type { IdSlots } from './id-slots.js';

/*
 * Sandboxes that wait for a run, made while the node is idle: a slot of ids with its namespaces, its network with link and addresses, its cgroup and its shim.
 * INVARIANTS
 *   - nothing of any tenant is in one that waits: no image, no file, no limit, no name; all of that comes with its one claim;
 *   - what was taken never comes back: a sandbox is one container's, from its making to its end;
 *   - there are never more than `size` of each kind of network, those being made included;
 *   - one ends with its holder, which is this process: an agent that dies leaves none that run.
 */

export type NetworkKind = 'none' | 'egress';

/** A sandbox that has been taken from the pool, or waits in it. */
export interface PooledSandbox {
  /** Names its container, its cgroup and its directory, and holds its slot. */
  readonly name: string;
  readonly slot: number;
  readonly shim: ParkedShim;
}

export interface PoolParts {
  /** Of each kind of network; 0: no pool. */
  readonly size: number;
  /** Folder of the containers' directories. */
  readonly containers: string;
  readonly cgroupParent: string;
  readonly slots: IdSlots;
  readonly launcher: ShimLauncher;
  readonly runtime: NodeRuntime;
  readonly seccomp: OciSeccomp;
  readonly host: HostFacts;
  readonly egress: Egress | null;
  readonly leaseFile: string;
  readonly onTaken: (result: 'hit' | 'miss') => void;
  readonly onMade: (seconds: number) => void;
  readonly log: Logger;
}

/** What one that waits is counted with against the node's memory: its processes, and what the kernel keeps for its namespaces and cgroup. */
const pooledSandboxBytes = 2 * 1024 * 1024;

const namePrefix = 'pool-';
/** After a start, so long without one before the next sandbox is made. */
const idleMs = 25;
const firstRetryMs = 1_000;
const lastRetryMs = 60_000;
const endMs = 10_000;
const endPollMs = 5;

export class SandboxPool {
  readonly #ready = new Map<NetworkKind, PooledSandbox[]>();
  /** Names of all that are this pool's: those that wait, are being made, or are going. */
  readonly #own = new Set<string>();
  #lastTakenMs = 0;
  #filling: Promise<void> | null = null;
  readonly #closing = new AbortController();

  constructor(private readonly parts: PoolParts) {
    for (const kind of parts.egress === null ? (['none'] as const) : (['none', 'egress'] as const)) this.#ready.set(kind, []);
  }

  /** How many wait. */
  get size(): number {
    return [...this.#ready.values()].reduce((sum, list) => sum + list.length, 0);
  }

  /** What a full pool is counted with against the node's memory. */
  get memoryBytes(): number {
    return this.parts.size * this.#ready.size * pooledSandboxBytes;
  }

  /** The names of all that belong to no run; whoever takes one owns its name from then on. */
  get names(): readonly string[] {
    return [...this.#own];
  }

  /** One that waits, or null; the pool is filled again once the node is idle. */
  take(kind: NetworkKind): PooledSandbox | null {
    if (this.parts.size === 0) return null;
    this.#lastTakenMs = Date.now();
    const list = this.#ready.get(kind);
    let found = list?.shift();
    while (found !== undefined && !found.shim.isThere) found = list?.shift();
    this.parts.onTaken(found === undefined ? 'miss' : 'hit');
    if (found !== undefined) this.#own.delete(found.name);
    this.fill();
    return found ?? null;
  }

  /** Sees to it that the pool gets full, one sandbox at a time. */
  fill(): void {
    if (this.parts.size === 0 || this.#closing.signal.aborted) return;
    this.#filling ??= this.makeAll().finally(() => {
      this.#filling = null;
    });
  }

  /** Removes all that wait. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#filling;
    const waiting = [...this.#ready.values()].flat();
    for (const list of this.#ready.values()) list.length = 0;
    await Promise.all(waiting.map((sandbox) => this.discard(sandbox.name, sandbox.slot, sandbox.shim)));
  }

  private async makeAll(): Promise<void> {
    for (let retryMs = firstRetryMs; !this.#closing.signal.aborted; ) {
      const kind = [...this.#ready.keys()].find((key) => (this.#ready.get(key)?.length ?? 0) < this.parts.size);
      if (kind === undefined) return;
      const restMs = this.#lastTakenMs + idleMs - Date.now();
      if (restMs > 0) {
        await this.pause(restMs);
        continue;
      }
      try {
        const began = performance.now();
        await this.makeOne(kind);
        this.parts.onMade((performance.now() - began) / 1000);
        retryMs = firstRetryMs;
      } catch (error) {
        this.parts.log.warn({ err: error, kind, retryMs }, 'no sandbox could be made ahead: containers start without');
        await this.pause(retryMs);
        retryMs = Math.min(retryMs * 2, lastRetryMs);
      }
    }
  }

  private async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
  }

  private async makeOne(kind: NetworkKind): Promise<void> {
    const name = `${namePrefix}${randomBytes(8).toString('hex')}`;
    this.#own.add(name);
    const slot = await this.parts.slots.claim(name);
    let shim: ParkedShim | undefined;
    try {
      shim = await this.park(name, slot, kind);
    } catch (error) {
      await this.discard(name, slot, shim);
      throw error;
    }
    const sandbox = { name, slot, shim };
    this.#ready.get(kind)?.push(sandbox);
    shim.onGone(() => {
      const list = this.#ready.get(kind) ?? [];
      const at = list.indexOf(sandbox);
      // Taken ones are their runs' to clear away.
      if (at < 0) return;
      list.splice(at, 1);
      void this.discard(name, slot, undefined).then(() => this.fill());
    });
  }

  private async park(name: string, slot: number, kind: NetworkKind): Promise<ParkedShim> {
    const { containers, cgroupParent, launcher, runtime, leaseFile } = this.parts;
    const directory = join(containers, name);
    const bundle = join(directory, 'bundle');
    const shim = new ShimDirectory(join(directory, 'shim'));
    await mkdir(bundle, { recursive: true, mode: 0o700 });
    await mkdir(shim.path, { mode: 0o700 });
    const ids = idRangeOfSlot(slot);
    for (const path of [directory, bundle]) {
      await chown(path, 0, ids.base);
      await chmod(path, 0o710);
    }
    const cgroupsPath = `${cgroupParent}/${name}`;
    await writeFile(join(bundle, 'config.json'), JSON.stringify(this.template(name, slot, kind, cgroupsPath)), { mode: 0o600 });
    await launcher.park(
      {
        id: name,
        runtime: runtime.program,
        runtimeRoot: runtime.root,
        runtimeArguments: runtime.globalArguments,
        bundle,
        directory: shim.path,
        cgroupsPath,
        timeoutMs: 0,
        stopGraceMs: 0,
        stopSignal: 15,
        logMaxBytes: 0,
        leaseFile,
      },
      'bare',
    );
    return ParkedShim.hold(shim.socketPath);
  }

  /** The config.json of nobody's container: what every container of this slot and network has. */
  private template(name: string, slot: number, kind: NetworkKind, cgroupsPath: string): object {
    const { seccomp, host, egress } = this.parts;
    const config = buildConfig({
      id: name,
      process: { args: ['/'], env: [], cwd: '/', user: { uid: 0, gid: 0, additionalGids: [], home: '/' }, stopSignal: 15 },
      hostname: 'parked',
      rootfs: '/',
      readOnlyRootfs: false,
      ids: idRangeOfSlot(slot),
      limits: { cpuMillis: 0, memoryBytes: 0, pids: 0, shmBytes: 0 },
      cgroupsPath,
      files: { resolvConf: '', hosts: '', hostname: '' },
      init: null,
      seccomp,
      networkHook: kind === 'egress' ? (egress?.of(slot).hook ?? null) : null,
      maxOpenFiles: host.maxOpenFiles,
      swapAccounting: host.swapAccounting,
    });
    return { ...config, mounts: [], linux: { ...config.linux, resources: {} } };
  }

  /** Ends one that was not taken, and removes all of it. */
  private async discard(name: string, slot: number, held: ParkedShim | undefined): Promise<void> {
    const { containers, slots, egress, runtime, log } = this.parts;
    const shim = new ShimDirectory(join(containers, name, 'shim'));
    held?.release();
    try {
      for (const deadline = Date.now() + endMs; (await shim.isShimAlive()) && Date.now() < deadline; ) await sleep(endPollMs);
      if ((await runtime.containers.list()).includes(name)) await runtime.containers.delete(name, { force: true });
      await egress?.removeLinkOf(slot);
      await rm(join(containers, name), { recursive: true, force: true });
      await slots.release(slot, name);
    } catch (error) {
      log.error({ err: error, name }, 'a sandbox of the pool stays');
    }
    this.#own.delete(name);
  }
}

import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildConfig, type ContainerPlan, idRangeOfSlot, initPath, type OciSeccomp } from '@berth/core';
import type { Snapshotter } from '@berth/image';
import { ParkedShim, ShimDirectory, type ShimLauncher } from '@berth/runtime';
import type { HostFacts } from '../host/host-facts.js';
import type { Egress } from '../network/egress.js';
import { hasContainer } from '../runtimes/has-container.js';
import type { NodeRuntime } from '../runtimes/node-runtimes.js';
import { writeEtcFiles } from './etc-files.js';
import type { IdSlots } from './id-slots.js';
import type { RootPlan } from './recent-roots.js';

/** What sandboxes are made with. */
export interface SandboxParts {
  /** Folder of the containers' directories. */
  readonly containers: string;
  readonly cgroupParent: string;
  readonly initProgram: string;
  readonly slots: IdSlots;
  readonly snapshotter: Snapshotter;
  readonly launcher: ShimLauncher;
  readonly runtime: NodeRuntime;
  readonly seccomp: OciSeccomp;
  readonly host: HostFacts;
  readonly egress: Egress | null;
  readonly leaseFile: string;
}

/** A sandbox that has been taken from the pool, or waits in it. */
export interface PooledSandbox {
  /** Names its container, its cgroup, its directory and its snapshot, and holds its slot. */
  readonly name: string;
  readonly slot: number;
  readonly shim: ParkedShim;
  /** Where its root filesystem is mounted; null: it has none. */
  readonly rootfs: string | null;
}

/** What a sandbox is to be: bare, with a network of a kind, or with the root of an image. */
export type SandboxPlan = { readonly kind: 'bare'; readonly network: RootPlan['network'] } | ({ readonly kind: 'root' } & RootPlan);

const endMs = 10_000;
const endPollMs = 5;
/** The host name of nobody's container; a claim brings the run's. */
const parkedHostname = 'parked';

/** Makes one that waits. `name` is nobody else's. On failure nothing is left. */
export async function makeSandbox(parts: SandboxParts, name: string, plan: SandboxPlan): Promise<PooledSandbox> {
  const slot = await parts.slots.claim(name);
  try {
    const ids = idRangeOfSlot(slot);
    const rootfs =
      plan.kind === 'bare'
        ? null
        : (await parts.snapshotter.prepare(name, plan.layers, { uidBase: ids.base, uidCount: ids.count }, undefined)).rootfs;
    return { name, slot, shim: await park(parts, name, slot, plan, rootfs), rootfs };
  } catch (error) {
    await discardSandbox(parts, name, slot);
    throw error;
  }
}

/** Ends one that was not taken, and removes all of it. `held` is the hold on it where there is one. */
export async function discardSandbox(parts: SandboxParts, name: string, slot: number, held?: ParkedShim): Promise<void> {
  const { containers, slots, egress, runtime, snapshotter } = parts;
  const shim = new ShimDirectory(join(containers, name, 'shim'));
  held?.release();
  for (const deadline = Date.now() + endMs; (await shim.isShimAlive()) && Date.now() < deadline; ) await sleep(endPollMs);
  if (await hasContainer(runtime, name)) await runtime.containers.delete(name, { force: true });
  await snapshotter.remove(name);
  await egress?.removeLinkOf(slot);
  await rm(join(containers, name), { recursive: true, force: true });
  await slots.release(slot, name);
}

async function park(parts: SandboxParts, name: string, slot: number, plan: SandboxPlan, rootfs: string | null): Promise<ParkedShim> {
  const { containers, cgroupParent, launcher, runtime, leaseFile } = parts;
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
  const shape = { id: name, ids, cgroupsPath, networkHook: hookOf(parts, plan, slot) };
  const config =
    plan.kind === 'bare' || rootfs === null ? bareConfig(parts, shape) : await rootConfig(parts, shape, plan, rootfs, bundle, slot);
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config), { mode: 0o600 });
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
    plan.kind,
  );
  return ParkedShim.hold(shim.socketPath);
}

type Shape = Pick<ContainerPlan, 'id' | 'ids' | 'cgroupsPath' | 'networkHook'>;

function hookOf({ egress }: SandboxParts, { network }: SandboxPlan, slot: number): ContainerPlan['networkHook'] {
  return network === 'egress' ? (egress?.of(slot).hook ?? null) : null;
}

function commonPlan({ seccomp, host }: SandboxParts, shape: Shape) {
  return { ...shape, hostname: parkedHostname, seccomp, maxOpenFiles: host.maxOpenFiles, swapAccounting: host.swapAccounting };
}

const nobodysUser = { uid: 0, gid: 0, additionalGids: [], home: '/' };

/** The config.json of nobody's container: what every container of this slot and network has. */
function bareConfig(parts: SandboxParts, shape: Shape): object {
  const config = buildConfig({
    ...commonPlan(parts, shape),
    process: { args: ['/'], env: [], cwd: '/', user: nobodysUser, stopSignal: 15 },
    rootfs: '/',
    readOnlyRootfs: false,
    limits: { cpuMillis: 0, memoryBytes: 0, pids: 0, shmBytes: 0 },
    files: { resolvConf: '', hosts: '', hostname: '' },
    init: null,
  });
  return { ...config, mounts: [], linux: { ...config.linux, resources: {} } };
}

/** The config.json of a run that has no name, program, environment or user yet. The files over its /etc are there, for the claim to fill. */
async function rootConfig(
  parts: SandboxParts,
  shape: Shape,
  plan: RootPlan,
  rootfs: string,
  bundle: string,
  slot: number,
): Promise<object> {
  const network = plan.network === 'egress' ? (parts.egress?.of(slot) ?? null) : null;
  return buildConfig({
    ...commonPlan(parts, shape),
    process: { args: [plan.init ? initPath : '/'], env: [], cwd: plan.cwd, user: nobodysUser, stopSignal: 15 },
    rootfs,
    readOnlyRootfs: plan.readOnlyRootfs,
    limits: { ...plan.limits, pids: plan.limits.pids + parts.runtime.ownPids },
    files: await writeEtcFiles(bundle, parkedHostname, shape.ids.base, network),
    init: plan.init ? parts.initProgram : null,
  });
}

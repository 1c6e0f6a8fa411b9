import { stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildConfig, type Feature, idRangeOfSlot, initPath } from '@berth/core';
import type { Logger } from 'pino';
import { AttemptDirectory } from '../attempts/attempt-directory.js';
import type { NodeServices } from '../attempts/node-services.js';
import { removeCgroup } from '../host/cgroups.js';
import { writeEtcFiles } from '../sandbox/etc-files.js';
import type { NodeRuntime } from './node-runtimes.js';

/** A container of the probe that has not ended by then does not count as one that runs. */
const probeTimeoutMs = 20_000;
const pollMs = 5;
const MiB = 1024 * 1024;
/** What berth-init exits with when it is given nothing to run: it ran. */
const initUsageExit = 64;

/**
 * Runs one container under each runtime of this node, isolated and limited as every other, and returns the features of those that can. Throws when
 * Berth's own cannot: then no run could be started here.
 */
export async function probeRuntimes(node: NodeServices, log: Logger): Promise<readonly Feature[]> {
  const features: Feature[] = [];
  const probes = [...node.runtimes.values()].map(async (runtime) => {
    const { runtimeClass, program } = runtime;
    try {
      await runProbe(node, runtime);
      if (runtimeClass !== 'berth') features.push(`runtime:${runtimeClass}`);
    } catch (error) {
      const reason = (await closedFolder(node, runtime)) ?? (error as Error).message;
      if (runtimeClass === 'berth') throw new Error(`this machine cannot run containers: ${reason}`, { cause: error });
      log.warn({ runtimeClass, program, reason }, 'a runtime does not work here and is not offered');
    }
  });
  // Each to its end: a probe that is left alone leaves its container.
  for (const outcome of await Promise.allSettled(probes)) if (outcome.status === 'rejected') throw outcome.reason;
  return features.sort();
}

async function runProbe(node: NodeServices, runtime: NodeRuntime): Promise<void> {
  const key = probeKey(runtime);
  const directory = new AttemptDirectory(node.paths.containers, key);
  const slot = await node.slots.claim(key);
  try {
    const ids = idRangeOfSlot(slot);
    await directory.create();
    await directory.openTo(ids.base);
    const { rootfs } = await node.snapshotter.prepare(key, [], { uidBase: ids.base, uidCount: ids.count });
    const cgroupsPath = `${node.paths.cgroupParent}/${key}`;
    const config = buildConfig({
      id: key,
      process: {
        args: [initPath],
        env: ['PATH=/'],
        cwd: '/',
        user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
        stopSignal: 15,
      },
      hostname: 'probe',
      rootfs,
      readOnlyRootfs: false,
      ids,
      limits: { cpuMillis: 1000, memoryBytes: 256 * MiB, pids: 100, shmBytes: 64 * 1024 },
      cgroupsPath,
      files: await writeEtcFiles(directory.bundle, 'probe', ids.base, null),
      init: node.paths.initProgram,
      seccomp: node.seccomp,
      networkHook: null,
      maxOpenFiles: node.host.maxOpenFiles,
      swapAccounting: node.host.swapAccounting,
    });
    await writeFile(join(directory.bundle, 'config.json'), JSON.stringify(config), { mode: 0o600 });
    await directory.createShim();
    await node.launcher.launch({
      id: key,
      runtime: runtime.program,
      runtimeRoot: runtime.root,
      runtimeArguments: runtime.globalArguments,
      bundle: directory.bundle,
      directory: directory.shim.path,
      cgroupsPath,
      timeoutMs: probeTimeoutMs,
      stopGraceMs: 0,
      stopSignal: 9,
      logMaxBytes: 64 * 1024,
      leaseFile: null,
    });
    const exit = await endOf(directory);
    if (exit.exitCode !== initUsageExit) throw new Error(`its container ended with ${exit.exitCode ?? `signal ${exit.signal}`}`);
  } finally {
    await remove(node, runtime, directory, slot);
  }
}

async function endOf({ shim }: AttemptDirectory): Promise<{ readonly exitCode: number | null; readonly signal: number | null }> {
  for (let waitedMs = 0; ; waitedMs += pollMs) {
    const alive = await shim.isShimAlive();
    const exit = await shim.exit();
    // The shim's own end comes after the container's: nothing is left then.
    if (exit !== null && !alive) return exit;
    if (!alive || waitedMs > probeTimeoutMs * 2) throw new Error('its container ended without a record');
    await sleep(pollMs);
  }
}

async function remove(node: NodeServices, runtime: NodeRuntime, directory: AttemptDirectory, slot: number): Promise<void> {
  const key = probeKey(runtime);
  if ((await runtime.containers.list()).includes(key)) await runtime.containers.delete(key, { force: true });
  for (const { mount } of node.host.hierarchies) await removeCgroup(join(mount, node.paths.cgroupParent, key));
  await node.snapshotter.remove(key);
  await directory.remove();
  await node.slots.release(slot, key);
}

function probeKey({ runtimeClass }: NodeRuntime): string {
  return `probe-${runtimeClass}`;
}

/** The folder that bars the way, for runtimes that go to what they mount as the container's root; null when the way is open. */
async function closedFolder(node: NodeServices, { runtimeClass }: NodeRuntime): Promise<string | null> {
  if (runtimeClass === 'berth') return null;
  for (const start of [node.paths.containers, dirname(node.paths.initProgram)]) {
    for (let folder = start; folder !== '/'; folder = dirname(folder)) {
      const { mode } = await stat(folder);
      if ((mode & 0o001) === 0) return `it works as the container's root, to whom ${folder} is closed: chmod o+x ${folder}`;
    }
  }
  return null;
}

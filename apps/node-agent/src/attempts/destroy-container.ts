import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeCgroup } from '../host/cgroups.js';
import { hasContainer } from '../runtimes/has-container.js';
import type { Attempt } from './attempt.js';
import type { RecordedAssignment } from './attempt-key.js';
import type { NodeServices } from './node-services.js';

const firstPollMs = 2;
const lastPollMs = 100;

/**
 * Makes sure that nothing of a container is left: waits `patienceMs` for its shim to delete it and end, then ends the shim, and has the runtime
 * delete whatever it still knows. No error when there was nothing.
 */
export async function destroyContainer(node: NodeServices, attempt: Attempt, patienceMs: number): Promise<void> {
  attempt.parked?.release();
  const deadline = Date.now() + patienceMs;
  for (let pollMs = firstPollMs; await attempt.directory.shim.isShimAlive(); pollMs = Math.min(pollMs * 2, lastPollMs)) {
    if (Date.now() > deadline) {
      const shim = await attempt.directory.shim.shim();
      attempt.log.error({ pid: shim?.pid }, 'the shim does not end and is killed');
      if (shim !== null) process.kill(shim.pid, 'SIGKILL');
    }
    await sleep(pollMs);
  }
  await deleteByForce(node, attempt.assignment, attempt.directory.sandbox);
}

/** Kills and removes a container, named by its sandbox, by its runtime where this node still has it. No error when there was none. */
export async function deleteByForce(node: NodeServices, { spec: { runtimeClass } }: RecordedAssignment, key: string): Promise<void> {
  const runtime = node.runtimes.get(runtimeClass);
  if (runtime !== undefined && (await hasContainer(runtime, key))) await runtime.containers.delete(key, { force: true });
  // Berth's own runtime removes its cgroup or fails; of the others some leave it where a start went wrong.
  if (runtimeClass === 'berth') return;
  for (const { mount } of node.host.hierarchies) {
    const path = join(mount, node.paths.cgroupParent, key);
    if (!(await removeCgroup(path))) throw new Error(`the cgroup ${path} does not empty`);
  }
}

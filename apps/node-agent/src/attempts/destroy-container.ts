import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from './attempt.js';
import type { NodeServices } from './node-services.js';

const firstPollMs = 2;
const lastPollMs = 100;

/**
 * Makes sure that nothing of a container is left: waits `patienceMs` for its shim to delete it and end, then ends the shim, and has the runtime
 * delete whatever it still knows. No error when there was nothing.
 */
export async function destroyContainer(node: NodeServices, attempt: Attempt, patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (let pollMs = firstPollMs; await attempt.directory.shim.isShimAlive(); pollMs = Math.min(pollMs * 2, lastPollMs)) {
    if (Date.now() > deadline) {
      const shim = await attempt.directory.shim.shim();
      attempt.log.error({ pid: shim?.pid }, 'the shim does not end and is killed');
      if (shim !== null) process.kill(shim.pid, 'SIGKILL');
    }
    await sleep(pollMs);
  }
  if ((await node.runtime.list()).includes(attempt.key)) await node.runtime.delete(attempt.key, { force: true });
}

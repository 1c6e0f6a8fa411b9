import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { SIGKILL } from '@berth/core';
import { ShimSocket, ShimSocketError } from '@berth/runtime';
import type { ExitRecord } from '@berth/wire';
import type { Attempt, StepExecutors } from './attempt.js';
import { lostContainer } from './attempt-failure.js';
import { deleteByForce, destroyContainer } from './destroy-container.js';
import type { NodeServices } from './node-services.js';
import { reportId } from './report-id.js';

/** The shim deletes the container and ends; after so long it is made to. */
const shimEndMs = 15_000;
/** Between looks at a shim that lives but whose socket cannot be reached. */
const lostSocketMs = 200;
const stopTries = 3;

export type EndKinds =
  | 'stopContainer'
  | 'awaitExit'
  | 'reportOutcome'
  | 'deleteContainer'
  | 'removeSnapshot'
  | 'awaitLogs'
  | 'awaitAcknowledgement'
  | 'removeDirectory';

/** The steps from a running container to nothing. */
export function endExecutors(node: NodeServices): Pick<StepExecutors, EndKinds> {
  return {
    async stopContainer(step, attempt) {
      if (step.report) void node.spool.append({ ...attempt.lease, id: reportId(attempt.lease, 'stopping'), kind: 'stopping' });
      if (!(await askToStop(attempt, step.graceMs))) {
        attempt.log.error('the shim does not answer: its container is killed');
        const runtime = node.runtimes.get(attempt.assignment.spec.runtimeClass);
        await (runtime?.containers.kill(attempt.directory.sandbox, SIGKILL, { all: true }) ??
          deleteByForce(node, attempt.assignment, attempt.directory.sandbox));
      }
      return { stopGraceMs: step.graceMs };
    },

    async awaitExit(_, attempt, signal) {
      const exit = await waitForExit(attempt, signal);
      if (exit !== null) return { container: 'exited', exit };
      // Nobody holds the container any more: it must not run on while another attempt may start.
      await deleteByForce(node, attempt.assignment, attempt.directory.sandbox);
      return { container: 'exited', verdict: lostContainer };
    },

    async reportOutcome(step, attempt) {
      const { outcome } = step;
      // An exit is in the shim's own record; the others stand nowhere else.
      if (outcome.kind !== 'exited' && attempt.facts.recorded) await attempt.directory.writeOutcome(outcome);
      void node.spool.append({ ...attempt.lease, id: reportId(attempt.lease, outcome.kind), ...outcome });
      node.metrics.exits.inc({ kind: outcome.kind });
      return { outcome: 'spooled' };
    },

    async deleteContainer(_, attempt) {
      await destroyContainer(node, attempt, shimEndMs);
      return { container: 'deleted' };
    },

    async removeSnapshot(_, attempt) {
      // A sandbox that waited with its root has it under its own name.
      for (const key of new Set([attempt.key, attempt.directory.sandbox])) await node.snapshotter.remove(key);
      return { snapshot: 'removed' };
    },

    async awaitLogs(_, attempt, signal) {
      const bytes = await logBytes(attempt);
      if (bytes > 0) {
        node.shipper.follow(attempt.lease, attempt.directory.shim.logPath);
        await node.shipper.finish(attempt.lease, bytes, signal);
      }
      return { logsShipped: true };
    },

    async awaitAcknowledgement(_, attempt, signal) {
      const id = reportId(attempt.lease, 'exited');
      if (node.spool.has(id)) await abortable(node.spool.acknowledged(id), signal);
      return { outcome: 'acknowledged' };
    },

    async removeDirectory(_, attempt) {
      await node.shipper.drop(attempt.lease);
      await attempt.directory.remove();
      // The kernel takes a container's link down some time after it; the slot's next holder must not find it.
      if (attempt.slot !== undefined && attempt.assignment.spec.network === 'egress') await node.egress?.removeLinkOf(attempt.slot);
      if (attempt.slot !== undefined) await node.slots.release(attempt.slot, attempt.directory.sandbox);
      return { removed: true };
    },
  };
}

/** The exit record, as the shim tells it or has left it; null when the shim is gone without one. */
async function waitForExit(attempt: Attempt, signal: AbortSignal): Promise<ExitRecord | null> {
  for (;;) {
    try {
      return await new ShimSocket(attempt.directory.shim.socketPath).wait(signal);
    } catch (error) {
      if (!(error instanceof ShimSocketError)) throw error;
    }
    const alive = await attempt.directory.shim.isShimAlive();
    // In this order: a shim writes its record before it ends.
    const exit = await attempt.directory.shim.exit();
    if (exit !== null) return exit;
    if (!alive) return null;
    await sleep(lostSocketMs, undefined, { signal });
  }
}

/** False when a live shim takes no word. One that has ended has nothing left to stop: `awaitExit` finds out how it ended. */
async function askToStop(attempt: Attempt, graceMs: number): Promise<boolean> {
  for (let tries = 0; tries < stopTries; tries++) {
    try {
      await new ShimSocket(attempt.directory.shim.socketPath).stop(graceMs);
      return true;
    } catch (error) {
      if (!(error instanceof ShimSocketError)) throw error;
      if (!(await attempt.directory.shim.isShimAlive())) return true;
    }
    await sleep(lostSocketMs);
  }
  return false;
}

async function logBytes(attempt: Attempt): Promise<number> {
  const size = await stat(attempt.directory.shim.logPath).then(
    (found) => found.size,
    () => 0,
  );
  return Math.min(size, attempt.facts.exit?.logBytes ?? size);
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return Promise.race([
    promise,
    new Promise<never>((_, reject) => {
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    }),
  ]);
}

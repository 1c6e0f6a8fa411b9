import { setTimeout as sleep } from 'node:timers/promises';
import { idRangeOfSlot } from '@berth/core';
import type { SnapshotLimit } from '@berth/image';
import { ShimLaunchError } from '@berth/runtime';
import { snapshotLimit } from '../host/disk-limit.js';
import { pullFailure } from '../images/image-source.js';
import type { ContainerNetwork } from '../network/egress.js';
import { runtimeOf } from '../runtimes/runtime-of.js';
import { writeBundle } from '../sandbox/write-bundle.js';
import type { Attempt, StepExecutors } from './attempt.js';
import type { AttemptRecord } from './attempt-directory.js';
import { AttemptFailure } from './attempt-failure.js';
import { destroyContainer } from './destroy-container.js';
import type { NodeServices } from './node-services.js';
import { reportId } from './report-id.js';
import { startRefusal } from './start-refusal.js';

const leasePollMs = 50;
const predecessorPollMs = 20;
/** A shim that has told of its failure has cleaned up and is about to end. */
const failedShimMs = 1_000;
const assignmentPollMs = 200;
/** How long a connected control plane may take to send again what this node holds. */
const assignmentWaitMs = 60_000;

/** The runtime's word for a config.json that is not the parked one's (docs/runtime.md). */
const claimMismatch = /\bclaim: \S+ differs from that of the parked container/;

export type StartKinds =
  | 'recordAssignment'
  | 'reportPreparing'
  | 'awaitAssignment'
  | 'pullImage'
  | 'prepareSnapshot'
  | 'writeBundle'
  | 'startContainer'
  | 'reportRunning';

/** The steps from an assignment to a running container. */
export function startExecutors(node: NodeServices): Pick<StepExecutors, StartKinds> {
  return {
    async recordAssignment(_, attempt) {
      if (attempt.slot === undefined) takeSandbox(node, attempt);
      const [slot] = await Promise.all([attempt.slot ?? node.slots.claim(attempt.key), attempt.directory.create()]);
      attempt.slot = slot;
      await attempt.directory.writeRecord(recordOf(attempt));
      return { recorded: true };
    },

    async awaitAssignment(_, attempt, signal) {
      for (let waitedMs = 0; waitedMs < assignmentWaitMs; ) {
        await sleep(assignmentPollMs, undefined, { signal });
        if (attempt.pullAuthorization !== undefined) return { assigned: true };
        if (node.linked()) waitedMs += assignmentPollMs;
      }
      const message = 'the node was restarted and the assignment did not come again';
      throw new AttemptFailure({ code: 'internal', message, blame: 'platform' }, true);
    },

    async reportPreparing(_, attempt) {
      void node.spool.append({ ...attempt.lease, id: reportId(attempt.lease, 'preparing'), kind: 'preparing' });
      return { announced: true };
    },

    async pullImage(_, attempt, signal) {
      const { reference, digest } = attempt.assignment.image;
      const stop = node.metrics.pullSeconds.startTimer();
      try {
        attempt.image = await node.images.pull({ reference, digest, authorization: attempt.pullAuthorization ?? null }, signal);
        stop({ result: 'pulled' });
      } catch (error) {
        stop({ result: signal.aborted ? 'aborted' : 'failed' });
        throw signal.aborted ? error : pullFailure(error);
      }
      return { imagePulled: true };
    },

    async prepareSnapshot(_, attempt) {
      if (attempt.parkedRootfs !== undefined) {
        attempt.rootfs = attempt.parkedRootfs;
        return { snapshot: 'mounted' };
      }
      const ids = idRangeOfSlot(present(attempt.slot));
      const { layers } = present(attempt.image);
      const snapshot = await node.snapshotter.prepare(
        attempt.key,
        layers,
        { uidBase: ids.base, uidCount: ids.count },
        limitOf(node, attempt),
      );
      attempt.rootfs = snapshot.rootfs;
      return { snapshot: 'mounted' };
    },

    async writeBundle(_, attempt) {
      const ids = idRangeOfSlot(present(attempt.slot));
      await attempt.directory.openTo(ids.base);
      const process = await writeBundle({
        id: attempt.key,
        runId: attempt.lease.runId,
        spec: attempt.assignment.spec,
        image: present(attempt.image).config,
        rootfs: present(attempt.rootfs),
        ids,
        cgroupsPath: cgroupsPathOf(node, attempt),
        directory: attempt.directory.bundle,
        initProgram: node.paths.initProgram,
        seccomp: node.seccomp,
        host: node.host,
        network: networkOf(node, attempt),
        ownPids: runtimeOf(node, attempt.assignment.spec).ownPids,
      });
      attempt.stopSignal = process.stopSignal;
      const { tenant, image, spec } = attempt.assignment;
      node.pool.remember(tenant, image.digest, spec, { layers: present(attempt.image).layers, cwd: process.cwd });
      return { bundleWritten: true };
    },

    async startContainer(_, attempt, signal) {
      const leased = attempt.assignment.spec.onNodeLost === 'retry';
      // Without a running lease another node may have the run by now; the shim checks once more before the process runs.
      while (leased && !node.stopPage.isValid(node.nowNs())) await sleep(leasePollMs, undefined, { signal });
      // No two attempts of a run at a time, not even on this node while the older one is being killed.
      while (attempt.predecessors.some(({ facts }) => facts.container !== 'deleted')) await sleep(predecessorPollMs, undefined, { signal });
      signal.throwIfAborted();
      await attempt.directory.writeStart(recordOf(attempt), node.bootId);
      const started = await node.pool.during(() => launch(node, attempt, leased));
      attempt.startedAt = started.startedAt;
      // Only a later agent's report misses it: a container that runs must not count as failed for want of disk.
      await attempt.directory
        .writeStarted(started.startedAt)
        .catch((error: unknown) => attempt.log.error({ err: error }, 'the time of the start is not kept'));
      return { container: 'running' };
    },

    async reportRunning(_, attempt) {
      node.shipper.follow(attempt.lease, attempt.directory.shim.logPath);
      const startedAt = attempt.startedAt ?? new Date().toISOString();
      void node.spool.append({ ...attempt.lease, id: reportId(attempt.lease, 'running'), kind: 'running', startedAt });
      return { runningReported: true };
    },
  };
}

/** A sandbox that was made ahead, where one waits that is as this run wants it. */
function takeSandbox(node: NodeServices, attempt: Attempt): void {
  const { tenant, image, spec } = attempt.assignment;
  const found = node.pool.take(tenant, image.digest, spec);
  if (found === null) return;
  attempt.parked = found.shim;
  attempt.parkedRootfs = found.rootfs ?? undefined;
  attempt.slot = found.slot;
  attempt.directory.occupy(found.name);
}

function recordOf({ assignment, slot, key, directory }: Attempt): AttemptRecord {
  return { assignment, slot: present(slot), ...(directory.sandbox === key ? {} : { sandbox: directory.sandbox }) };
}

function cgroupsPathOf(node: NodeServices, attempt: Attempt): string {
  return `${node.paths.cgroupParent}/${attempt.directory.sandbox}`;
}

async function launch(node: NodeServices, attempt: Attempt, leased: boolean): Promise<{ readonly startedAt: string }> {
  const { spec } = attempt.assignment;
  const runtime = runtimeOf(node, spec);
  const { parked } = attempt;
  const limits = {
    timeoutMs: spec.timeoutMs,
    stopGraceMs: spec.stopGraceMs,
    stopSignal: present(attempt.stopSignal),
    logMaxBytes: Math.min(node.logMaxBytes, spec.resources.logBytes ?? node.logMaxBytes),
  };
  try {
    if (parked?.isThere) {
      try {
        return await parked.claim({ ...limits, leased });
      } catch (error) {
        // Nothing of the run's has been done then: it starts as it would have without the sandbox.
        if (!(error instanceof ShimLaunchError && claimMismatch.test(error.message))) throw error;
        attempt.log.error({ err: error }, 'a sandbox made ahead was not as its run wants it');
      }
    }
    // One that has gone meanwhile has run nothing; its name and its slot serve a start like any other.
    if (parked !== undefined) await destroyContainer(node, attempt, failedShimMs);
    await attempt.directory.createShim();
    return await node.launcher.launch({
      id: attempt.directory.sandbox,
      runtime: runtime.program,
      runtimeRoot: runtime.root,
      runtimeArguments: runtime.globalArguments,
      bundle: attempt.directory.bundle,
      directory: attempt.directory.shim.path,
      cgroupsPath: cgroupsPathOf(node, attempt),
      ...limits,
      leaseFile: leased ? node.stopPage.path : null,
    });
  } catch (error) {
    if (!(error instanceof ShimLaunchError)) throw error;
    // A shim that gave no answer may still start its container: it must be gone before anybody hears of a failure.
    await destroyContainer(node, attempt, failedShimMs);
    const refusal = startRefusal(error.message);
    if (refusal !== null) throw AttemptFailure.refused(refusal, { cause: error });
    const failure = { code: 'startFailed', message: 'the node could not start the container', blame: 'platform' } as const;
    throw new AttemptFailure(failure, true, { cause: error });
  }
}

/** Throws AttemptFailure when this node bounds no writable layers any more: another may. */
function limitOf(node: NodeServices, attempt: Attempt): SnapshotLimit | undefined {
  const { diskBytes } = attempt.assignment.spec.resources;
  if (diskBytes === undefined) return undefined;
  if (node.diskLimit !== null) return snapshotLimit(node.diskLimit, diskBytes);
  throw new AttemptFailure({ code: 'startFailed', message: 'the node cannot bound diskBytes', blame: 'platform' }, true);
}

/** Throws AttemptFailure when this node has no such network any more: another may. */
function networkOf(node: NodeServices, attempt: Attempt): ContainerNetwork | null {
  if (attempt.assignment.spec.network === 'none') return null;
  if (node.egress !== null) return node.egress.of(present(attempt.slot));
  throw new AttemptFailure({ code: 'startFailed', message: 'the node offers no network', blame: 'platform' }, true);
}

/** What the plan's order guarantees to be there. */
function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a step was done before those that it rests on');
  return value;
}

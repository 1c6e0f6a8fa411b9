import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Attempt, type StepExecutors } from '../attempts/attempt.js';
import { AttemptDirectory, listAttemptDirectories } from '../attempts/attempt-directory.js';
import { lostContainer } from '../attempts/attempt-failure.js';
import { attemptKey, type RecordedAssignment } from '../attempts/attempt-key.js';
import { deleteByForce } from '../attempts/destroy-container.js';
import type { NodeServices } from '../attempts/node-services.js';
import type { AttemptFacts } from '../attempts/steps.js';
import { killProcess } from '../host/cgroups.js';
import { findShims } from './find-shims.js';

/** How long a shim that is just starting may take to write its name. */
const shimNameMs = 5_000;
const pollMs = 20;

/**
 * The attempts that an earlier agent left, each with what is true of it now, from what is on disk:
 *
 *   outcome.json   it ended without a container; its report may not be acknowledged
 *   exit.json      its container ended
 *   start.json     its container runs, if its shim does; else it is lost, with its exit status: `awaitExit` finds out
 *   none of these  no container was started: it begins anew once it is assigned again
 *
 * A directory without a readable record is none; `removeLeftovers` takes it.
 */
export async function findAttempts(node: NodeServices, executors: StepExecutors, log: Logger): Promise<readonly Attempt[]> {
  const found: Attempt[] = [];
  for (const key of await listAttemptDirectories(node.paths.containers)) {
    const directory = new AttemptDirectory(node.paths.containers, key);
    const record = await directory.record().catch((error: unknown) => {
      log.error({ err: error, path: directory.path }, 'the record of an attempt is not readable');
      return null;
    });
    if (record === null || attemptKey(record.assignment) !== key) continue;
    if (record.sandbox !== undefined) directory.occupy(record.sandbox);
    const facts = await factsOf(directory, node).catch(async (error: unknown) => {
      log.error({ err: error, path: directory.path }, 'what an attempt has left is not readable: its container is given up');
      return giveUp(directory, node, record.assignment);
    });
    const attempt = new Attempt(record.assignment, directory, executors, log, facts);
    // After a reboot another may have them; one that begins anew then claims others.
    if (await node.slots.reclaim(record.slot, directory.sandbox)) attempt.slot = record.slot;
    attempt.startedAt = (await directory.startedAt()) ?? undefined;
    if (attempt.facts.container === 'running' && (await directory.isMarkedPaused())) await letGoOn(attempt, node);
    log.info({ runId: attempt.lease.runId, epoch: attempt.lease.epoch, container: attempt.facts.container }, 'an attempt was found');
    found.push(attempt);
  }
  return found;
}

async function factsOf(directory: AttemptDirectory, node: NodeServices): Promise<Partial<AttemptFacts>> {
  const outcome = await directory.outcome();
  if (outcome !== null && outcome.kind !== 'exited') return { recorded: true, verdict: outcome };
  const started = { recorded: true, announced: true, imagePulled: true, snapshot: 'mounted', bundleWritten: true } as const;
  const start = await directory.start();
  // Process ids of another boot are those of strangers.
  if (start?.bootId !== node.bootId) await directory.shim.forgetShim();
  else await nameOfShim(directory, node);
  const alive = await directory.shim.isShimAlive();
  // After the look at the shim: it writes its record before it ends.
  const exit = await directory.shim.exit();
  if (exit !== null) return { ...started, container: 'exited', exit, runningReported: true };
  if (start === null) return { assigned: false };
  return { ...started, container: 'running', runningReported: !alive };
}

/** An agent that died while it held a container leaves it to the next one. */
async function letGoOn({ directory, assignment, log }: Attempt, node: NodeServices): Promise<void> {
  // It may have died before the pause, or after the end of it.
  await node.runtimes
    .get(assignment.spec.runtimeClass)
    ?.containers.resume(directory.sandbox)
    .catch((error: unknown) => log.info({ err: error }, 'a container that was to be held did not have to be let go on'));
  await directory.unmarkPaused();
}

/** Kills a container whose end nobody could learn of, before another attempt can start. */
async function giveUp(directory: AttemptDirectory, node: NodeServices, assignment: RecordedAssignment): Promise<Partial<AttemptFacts>> {
  for (const pid of (await findShims(node.paths.containers)).get(directory.shim.path) ?? []) killProcess(pid);
  await deleteByForce(node, assignment, directory.sandbox);
  await directory.shim.forgetShim();
  return { recorded: true, container: 'exited', verdict: lostContainer };
}

/** Waits until a shim that was just being started has written its name. */
async function nameOfShim(directory: AttemptDirectory, node: NodeServices): Promise<void> {
  for (let waitedMs = 0; waitedMs < shimNameMs; waitedMs += pollMs) {
    if ((await directory.shim.shim()) !== null || (await directory.shim.exit()) !== null) return;
    if (!(await findShims(node.paths.containers)).has(directory.shim.path)) return;
    await sleep(pollMs);
  }
}

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Assignment, Report } from '@berth/wire';
import { processesOf } from './host-state.js';
import { type Ended, eventually, slowness, type TestNode } from './test-node.js';

const victims = ['agent', 'launcher', 'shim'] as const;
const faults = ['SIGKILL', 'SIGSTOP'] as const;
/** When the fault comes: so long after the assignment, the report of the start, the word to stop, or the end. */
const moments = ['assigned', 'running', 'stopping', 'exited'] as const;
const lines = 12;

/** One fault and the run that it strikes, all of it by its seed. */
export interface Fault {
  readonly seed: number;
  readonly victim: (typeof victims)[number];
  readonly signal: (typeof faults)[number];
  readonly moment: (typeof moments)[number];
  readonly delayMs: number;
  /** How long a stopped process stays so. */
  readonly pauseMs: number;
  readonly exitCode: number;
  /** With a writable layer of its own filesystem. */
  readonly bounded: boolean;
}

/** The fault of a seed: equal seeds give equal faults. */
export function faultOf(seed: number): Fault {
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  // mulberry32 (public domain, T. Ettinger): well spread from one small number to the next.
  const below = (n: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  return {
    seed,
    victim: pick(victims),
    signal: pick(faults),
    moment: pick(moments),
    // Most of a start and of an end is done within so long; some faults come after.
    delayMs: below(120) * slowness,
    pauseMs: (20 + below(400)) * slowness,
    exitCode: below(120),
    bounded: below(4) === 0,
  };
}

/** Runs one container through a fault and checks what must hold then (I8 to I10, I13). Throws what does not. */
export async function strike(node: TestNode, fault: Fault): Promise<void> {
  const stops = fault.moment === 'stopping';
  const count = `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); done`;
  const script = stops
    ? `trap 'exit ${fault.exitCode}' TERM; ${count}; while :; do sleep 0.02; done`
    : `${count}; sleep 0.05; exit ${fault.exitCode}`;
  const assignment = node.assignment({ command: ['/bin/sh', '-c', script], stopGraceMs: 5_000 * slowness });
  if (fault.bounded) assignment.spec.resources = { ...assignment.spec.resources, diskBytes: 4 << 20 };
  node.server.assign(assignment);
  await reach(node, assignment, fault);
  await sleep(fault.delayMs);
  await hit(node, assignment, fault);
  if (stops) {
    // A start that the fault broke off is stopped wherever it is by then; the word comes again as it would with each heartbeat.
    node.server.stop(assignment, 'canceled', 5_000 * slowness);
    await eventually(() => node.server.reportsOf(assignment).some(({ kind }) => kind !== 'preparing'), 'the stopped run is reported');
    node.server.stop(assignment, 'canceled', 5_000 * slowness);
  }
  const ended = await node.ended(assignment, 60_000 * slowness);
  checkEnd(ended, fault);
  checkLog(ended);
  await node.idle();
  await checkNothingLeft(node, assignment);
}

/** Waits until the run is where the fault is to come, or is past it. */
async function reach(node: TestNode, assignment: Assignment, { moment }: Fault): Promise<void> {
  if (moment === 'assigned') return;
  const wanted: readonly Report['kind'][] = moment === 'exited' ? ['exited', 'failed'] : ['running', 'exited', 'failed'];
  await eventually(() => node.server.reportsOf(assignment).some(({ kind }) => wanted.includes(kind)), `the run is ${moment}`);
  if (moment === 'stopping') {
    // The trap stands once the lines are there.
    await node.outputs(assignment, `line ${lines - 1}`);
    node.server.stop(assignment, 'canceled', 5_000 * slowness);
  }
}

async function hit(node: TestNode, assignment: Assignment, { victim, signal, pauseMs }: Fault): Promise<void> {
  if (victim === 'agent') {
    const agent = node.agent;
    if (signal === 'SIGKILL') {
      await agent?.end('SIGKILL');
      await node.startAgent();
      return;
    }
    agent?.child.kill('SIGSTOP');
    await sleep(pauseMs);
    agent?.child.kill('SIGCONT');
    return;
  }
  const pids =
    victim === 'launcher' ? await programsOf('berth-launcher', `${node.directory}/`) : await programsOf('berth-shim', assignment.runId);
  for (const pid of pids) send(pid, signal);
  if (signal === 'SIGKILL') return;
  await sleep(pauseMs);
  for (const pid of pids) send(pid, 'SIGCONT');
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Processes of a program whose command line names something. */
export async function programsOf(name: string, mark: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const [program, ...args] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (program?.endsWith(name) && args.some((arg) => arg.includes(mark))) found.push(Number(pid));
  }
  return found;
}

/**
 * I9: what the kernel said, or, where the one who would have known was killed, that it is not known: its shim, or the agent after it had noted a start and
 * before there was a shim.
 */
function checkEnd({ end, reports, output }: Ended, fault: Fault): void {
  const ends = reports.filter(({ kind }) => ['exited', 'failed', 'stopped'].includes(kind));
  if (ends.length !== 1) throw new Error(`I9: ${ends.length} ends were reported: ${JSON.stringify(ends)}`);
  const shimKilled = fault.victim === 'shim' && fault.signal === 'SIGKILL';
  const brokenOff = fault.victim === 'agent' && fault.signal === 'SIGKILL' && fault.moment === 'assigned' && output === '';
  if (end.kind === 'failed' && (shimKilled || brokenOff) && end.retryable && end.failure.blame === 'platform') return;
  if (end.kind === 'exited' && end.exit.exitCode === fault.exitCode && end.exit.signal === null) return;
  throw new Error(`I9: the run was to end with ${fault.exitCode}, and this was reported: ${JSON.stringify(end)}`);
}

/** I10: all lines of a run whose end is known; of another, the first ones. */
function checkLog({ end, output }: Ended): void {
  const all = Array.from({ length: lines }, (_, index) => `line ${index}\n`).join('');
  const holds = end.kind === 'exited' ? output === all : all.startsWith(output);
  if (!holds) throw new Error(`I10: of ${lines} lines the log holds ${JSON.stringify(output)}`);
}

/** I8 and I13: no process of the run, nothing of it on the machine. */
async function checkNothingLeft(node: TestNode, { runId }: Assignment): Promise<void> {
  const processes = await processesOf(runId);
  if (processes.length > 0) throw new Error(`I8: processes of the run live on: ${processes.join()}`);
  let left: readonly unknown[] = [];
  // The kernel takes links and loop devices down a little after the last use.
  await eventually(
    async () => {
      left = (await (await node.agent?.fetch('/leftovers'))?.json()) as readonly unknown[];
      return left.length === 0;
    },
    'nothing is left',
    5_000 * slowness,
  ).catch(() => {
    throw new Error(`I13: this is left: ${JSON.stringify(left)}`);
  });
  const own = [...(await node.hostState())].filter((thing) => thing.includes(runId));
  const files = (await readdir(join(node.directory, 'agent/snapshots'))).filter((name) => name.includes(runId));
  if (own.length + files.length > 0) throw new Error(`I13: this is left: ${[...own, ...files].join('; ')}`);
}

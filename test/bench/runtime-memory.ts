import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** What a runtime's process holds while its container runs, in KiB (proc(5), smaps_rollup). */
export interface RuntimeMemory {
  readonly waitingRssKiB: number;
  readonly waitingPrivateKiB: number;
}

const PATIENCE_MS = 10_000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Children of any of its threads: proc(5) lists them by the thread that made them. */
function childrenOf(pid: number): number[] {
  const threads = existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : [];
  return threads.flatMap((tid) => read(`/proc/${pid}/task/${tid}/children`).split(' ').filter(Boolean).map(Number));
}

function findProgram(pid: number): number | undefined {
  if (read(`/proc/${pid}/cmdline`).startsWith('/bin/true\0wait')) return pid;
  for (const child of childrenOf(pid)) {
    const found = findProgram(child);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The container's process below `pid` once it runs its program, `/bin/true wait`. */
function awaitProgram(pid: number): number {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const found = findProgram(pid);
    if (found !== undefined) return found;
    Atomics.wait(sleeper, 0, 0, 10);
  }
  process.kill(pid, 'SIGTERM');
  throw new Error(`process ${pid} started no container within ${PATIENCE_MS} ms`);
}

/** Runs `command`, a foreground `run` of a container that waits, measures it, and ends the container. */
export function runtimeMemory(command: readonly string[]): RuntimeMemory {
  const [program = '', ...args] = command;
  const { pid } = spawn(program, args, { stdio: 'ignore' });
  if (pid === undefined) throw new Error(`cannot run ${program}`);
  const inside = awaitProgram(pid);
  const rollup = read(`/proc/${pid}/smaps_rollup`);
  const kib = (field: string): number => Number(new RegExp(`^${field}: +(\\d+) kB`, 'm').exec(rollup)?.[1] ?? Number.NaN);
  process.kill(inside, 'SIGKILL');
  while (read(`/proc/${pid}/cmdline`) !== '') Atomics.wait(sleeper, 0, 0, 10);
  return { waitingRssKiB: kib('Rss'), waitingPrivateKiB: kib('Private_Clean') + kib('Private_Dirty') };
}

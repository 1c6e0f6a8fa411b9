import { readFile } from 'node:fs/promises';

/** A process for as long as the machine is up: process ids come again, but not with the same start time. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot: field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: number;
}

/** The identity of a live process; null when there is none, or it is a zombie. */
export async function readProcessIdentity(pid: number): Promise<ProcessIdentity | null> {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  return parseProcessStat(pid, text);
}

/** Reads /proc/PID/stat; its second field is the process's name, which may itself hold spaces and parentheses. */
export function parseProcessStat(pid: number, text: string): ProcessIdentity | null {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTime = Number(fields[19]);
  if (state === undefined || state === 'Z' || state === 'X' || !Number.isSafeInteger(startTime)) return null;
  return { pid, startTime };
}

/** Whether the very process is still there. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await readProcessIdentity(identity.pid))?.startTime === identity.startTime;
}

import { readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const rmdirTries = 50;
const rmdirPauseMs = 20;

/** Kills what is in a cgroup and below it, and removes it; true when there is none. False when the kernel still holds it after a second. */
export async function removeCgroup(path: string): Promise<boolean> {
  for (let tries = 0; tries < rmdirTries; tries++) {
    for (const name of await directoriesIn(path)) await removeCgroup(join(path, name));
    await writeFile(join(path, 'cgroup.kill'), '1').catch(() => {});
    for (const pid of await processesOf(path)) killProcess(pid);
    try {
      await rmdir(path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
      await sleep(rmdirPauseMs);
    }
  }
  return false;
}

/** The processes of a cgroup, without those below it; none for a cgroup that is not there. */
export async function processesOf(cgroup: string): Promise<readonly number[]> {
  const text = await readFile(join(cgroup, 'cgroup.procs'), 'latin1').catch(() => '');
  return text.split('\n').filter(Boolean).map(Number);
}

/** The names of a folder's folders; none for one that is not there. */
export async function directoriesIn(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** Sends SIGKILL; no error when the process has ended. */
export function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

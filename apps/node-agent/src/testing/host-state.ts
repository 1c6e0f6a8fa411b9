import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readProcessIdentity } from '@berth/runtime';

/** What a container could leave on the machine, each thing by a name. */
export type HostState = ReadonlySet<string>;

export async function readHostState(): Promise<HostState> {
  const found = new Set<string>();
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const path = line.split(' ')[4];
    if (path?.includes('/berth')) found.add(`mount ${path}`);
  }
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const cgroup = await readFile(`/proc/${name}/cgroup`, 'utf8').catch(() => '');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (cgroup.includes(':/berth/') || command.includes('berth-shim')) found.add(`process ${name} ${command.replaceAll('\0', ' ')}`);
  }
  for (const hierarchy of ['', ...(await readdir('/sys/fs/cgroup'))]) {
    for (const name of await readdir(join('/sys/fs/cgroup', hierarchy, 'berth')).catch(() => []))
      found.add(`cgroup ${hierarchy}/berth/${name}`);
  }
  for (const name of await readdir('/sys/block').catch(() => [])) {
    if (existsSync(`/sys/block/${name}/loop/backing_file`)) found.add(`loop device ${name}`);
  }
  return found;
}

export function differences(before: HostState, after: HostState): readonly string[] {
  return [...after].filter((thing) => !before.has(thing));
}

/** The live processes in the cgroups of a run's attempts; a zombie only waits for its parent. */
export async function processesOf(runId: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const cgroup = await readFile(`/proc/${name}/cgroup`, 'utf8').catch(() => '');
    if (cgroup.includes(runId) && (await readProcessIdentity(Number(name))) !== null) found.push(name);
  }
  return found;
}

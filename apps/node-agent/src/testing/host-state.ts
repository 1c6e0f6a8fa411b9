import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readProcessIdentity } from '@berth/runtime';

/** What a container could leave on the machine, each thing by a name. */
export type HostState = ReadonlySet<string>;

/** What there is of one node: by its directory in mounts, command lines and loop devices, and by its cgroup's name. */
export async function readHostState(directory: string, cgroup: string): Promise<HostState> {
  const found = new Set<string>();
  // Only what is mounted holds cgroups: podman makes plain directories for the controllers that a machine has not, and crun follows it there.
  const hierarchies = new Set<string>();
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const path = line.split(' ')[4];
    if (path?.startsWith(directory)) found.add(`mount ${path}`);
    if (path !== undefined && / - cgroup2? /.test(line)) hierarchies.add(path);
  }
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const groups = await readFile(`/proc/${name}/cgroup`, 'utf8').catch(() => '');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (groups.includes(`/berth/${cgroup}/`) || (command.includes('berth-') && command.includes(`${directory}/`))) {
      found.add(`process ${name} ${command.replaceAll('\0', ' ')}`);
    }
  }
  for (const hierarchy of hierarchies) {
    const path = join(hierarchy, 'berth', cgroup);
    if (existsSync(path)) found.add(`cgroup ${path}`);
    const children = await readdir(path, { withFileTypes: true }).catch(() => []);
    for (const child of children) if (child.isDirectory()) found.add(`cgroup ${join(path, child.name)}`);
  }
  for (const name of await readdir('/sys/block').catch(() => [])) {
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    if (file.startsWith(directory)) found.add(`loop device ${name}`);
  }
  return found;
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

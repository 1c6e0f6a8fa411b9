import { readdir, readFile, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import { AttemptDirectory, listAttemptDirectories } from '../attempts/attempt-directory.js';
import type { AttemptKey } from '../attempts/attempt-key.js';
import type { NodeServices } from '../attempts/node-services.js';
import { directoriesIn, killProcess, processesOf, removeCgroup } from '../host/cgroups.js';
import { findShims } from './find-shims.js';

/** Something on this machine that belongs to no attempt. */
export interface Leftover {
  readonly kind: 'process' | 'cgroup' | 'container' | 'mount' | 'snapshot' | 'directory' | 'idSlot' | 'loopDevice' | 'link';
  /** A process id, a path or a name. */
  readonly what: string;
}

/** Everything of this node on the machine that belongs to none of the attempts in `kept`, by looking at the machine rather than at any record. */
export async function leftovers(node: NodeServices, agentDir: string, kept: ReadonlySet<AttemptKey>): Promise<readonly Leftover[]> {
  const found: Leftover[] = [];
  const add = (kind: Leftover['kind'], whats: Iterable<string | number>): void => {
    for (const what of whats) found.push({ kind, what: String(what) });
  };
  for (const [directory, pids] of await findShims(node.paths.containers)) if (!keeps(kept, directory)) add('process', pids);
  for (const { path, pids } of await strayCgroups(node, kept)) {
    add('cgroup', [path]);
    add('process', pids);
  }
  for (const { containers } of node.runtimes.values()) {
    add(
      'container',
      (await containers.list()).filter((id) => !kept.has(id)),
    );
  }
  // Layers are mounted once for all; those of snapshots that are themselves left are told by the snapshot.
  const layers = new Set(await node.snapshotter.layerMounts());
  add(
    'mount',
    mountsBelow(await readFile('/proc/self/mountinfo', 'utf8'), agentDir).filter((path) => !keeps(kept, path) && !layers.has(path)),
  );
  add(
    'snapshot',
    (await node.snapshotter.list()).map(({ key }) => key).filter((key) => !kept.has(key)),
  );
  add(
    'directory',
    (await listAttemptDirectories(node.paths.containers)).filter((key) => !kept.has(key)),
  );
  add(
    'idSlot',
    [...(await node.slots.held())].filter(([, holder]) => !kept.has(holder)).map(([slot]) => slot),
  );
  add('link', await strayLinks(node));
  add('loopDevice', await loopDevicesOf(agentDir, new Set([...kept, ...[...layers].map((path) => basename(path))])));
  return found;
}

/** Removes what `leftovers` lists but for mounts outside of snapshots and loop devices, which go with them: in the order in which things rest on each other. */
export async function removeLeftovers(node: NodeServices, kept: ReadonlySet<AttemptKey>, log: Logger): Promise<void> {
  for (const [directory, pids] of await findShims(node.paths.containers)) {
    if (keeps(kept, directory)) continue;
    log.warn({ directory, pids }, 'a shim of no attempt is killed');
    for (const pid of pids) killProcess(pid);
  }
  for (const { containers } of node.runtimes.values()) {
    for (const id of await containers.list()) {
      if (kept.has(id)) continue;
      await containers
        .delete(id, { force: true })
        .catch((error: unknown) => log.error({ err: error, id }, 'a container of no attempt stays'));
    }
  }
  for (const { path } of await strayCgroups(node, kept)) {
    if (!(await removeCgroup(path))) log.error({ path }, 'a cgroup of no attempt stays');
  }
  for (const { key } of await node.snapshotter.list()) {
    if (!kept.has(key))
      await node.snapshotter.remove(key).catch((error: unknown) => log.error({ err: error, key }, 'a snapshot of no attempt stays'));
  }
  for (const key of await listAttemptDirectories(node.paths.containers)) {
    if (!kept.has(key)) await new AttemptDirectory(node.paths.containers, key).remove();
  }
  for (const name of await strayLinks(node)) await node.egress?.removeLink(name);
  for (const [slot, holder] of await node.slots.held()) if (!kept.has(holder)) await node.slots.release(slot, holder);
}

/** Removes this node's own cgroup, under which its containers were, and its parent where nobody else uses it. */
export async function removeCgroupParents(node: NodeServices): Promise<void> {
  for (const { mount } of node.host.hierarchies) {
    for (const path of [node.paths.cgroupParent, join(node.paths.cgroupParent, '..')]) await rmdir(join(mount, path)).catch(() => {});
  }
}

/** Mount points below a folder, from the text of /proc/self/mountinfo (proc(5)). */
export function mountsBelow(mountinfo: string, folder: string): string[] {
  return mountinfo
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    )
    .filter((path) => path.startsWith(`${folder}/`));
}

function keeps(kept: ReadonlySet<AttemptKey>, path: string): boolean {
  return path.split('/').some((part) => kept.has(part));
}

async function strayCgroups(
  node: NodeServices,
  kept: ReadonlySet<AttemptKey>,
): Promise<{ readonly path: string; readonly pids: readonly number[] }[]> {
  const found = [];
  for (const { mount } of node.host.hierarchies) {
    for (const name of await directoriesIn(join(mount, node.paths.cgroupParent))) {
      const path = join(mount, node.paths.cgroupParent, name);
      if (!kept.has(name)) found.push({ path, pids: await processesOf(path) });
    }
  }
  return found;
}

/** Links of slots that nobody holds; the kernel takes a link down a little after its container. */
async function strayLinks({ egress, slots }: NodeServices): Promise<readonly string[]> {
  if (egress === null) return [];
  const [links, held] = [await egress.links(), await slots.held()];
  return [...links].filter(([slot]) => !held.has(slot)).map(([, name]) => name);
}

/** Loop devices on files below a folder, but for writable layers of attempts in `used` and images of layers in it (hexadecimal), which kernels before 6.12 mount by no other way. */
async function loopDevicesOf(folder: string, used: ReadonlySet<string>): Promise<readonly string[]> {
  const found = [];
  for (const name of await readdir('/sys/block').catch(() => [])) {
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    if (file.startsWith(`${folder}/`) && !file.split('/').some((part) => used.has(part.trim()))) found.push(`/dev/${name}`);
  }
  return found;
}

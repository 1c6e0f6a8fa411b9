import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What stands on the machine that a container could leave behind, as `Map<identity, description>` per kind. Identities are stable: a process is
 * its pid and start time, so that a reused pid is another process.
 *
 * @typedef {Record<'processes' | 'mounts' | 'cgroups' | 'network namespaces' | 'loop devices' | 'key rings' | 'IPC objects', Map<string, string>>} Inventory
 */

/** Reads the machine as it is now. Whole only as root: others cannot read foreign processes' namespaces. @returns {Inventory} */
export function takeInventory() {
  const processes = readProcesses();
  return {
    processes: new Map(processes.map((one) => [`${one.pid}@${one.startTime}`, one.description])),
    mounts: new Map(lines('/proc/self/mountinfo').map((line) => [line.split(' ')[0], mountText(line)])),
    cgroups: readCgroups(),
    'network namespaces': readNetworkNamespaces(processes),
    'loop devices': readLoopDevices(),
    'key rings': new Map(lines('/proc/keys').map((line) => [line.split(' ')[0], line.trim()])),
    'IPC objects': new Map(['msg', 'sem', 'shm'].flatMap(readIpcObjects)),
  };
}

/**
 * What is there now and was not before, as one line each; `owns` picks what concerns the caller by its description, since the rest of the
 * machine lives on meanwhile.
 */
export function leftovers(before, after, owns = () => true) {
  return Object.entries(after).flatMap(([kind, items]) =>
    [...items].filter(([identity, text]) => !before[kind].has(identity) && owns(text, kind)).map(([, text]) => `${kind}: ${text}`),
  );
}

/** `leftovers` asked again until there are none or `patienceMs` has passed: the kernel takes namespaces and cgroups down after the fact. */
export async function settledLeftovers(before, owns, patienceMs = 5000) {
  const end = performance.now() + patienceMs;
  for (;;) {
    const found = leftovers(before, takeInventory(), owns);
    if (found.length === 0 || performance.now() > end) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** How many things of each kind an inventory holds. */
export const counts = (inventory) => Object.fromEntries(Object.entries(inventory).map(([kind, items]) => [kind, items.size]));

function readProcesses() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const stat = text(`/proc/${pid}/stat`);
      if (stat === null) return [];
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const cmdline = text(`/proc/${pid}/cmdline`) ?? '';
      // Without a command line it is a thread of the kernel, or a process that has ended and is not yet reaped.
      if (cmdline === '' && fields[0] !== 'Z') return [];
      const command =
        cmdline.replaceAll('\0', ' ').trim() || `${stat.slice(stat.indexOf('('), stat.lastIndexOf(')') + 1)} ended, not reaped`;
      const home = /(?:^|\0)BERTH_HOME=([^\0]*)/.exec(text(`/proc/${pid}/environ`) ?? '')?.[1];
      const cgroup = /^\d+:[^:]*:(\/berth\/.+)$/m.exec(text(`/proc/${pid}/cgroup`) ?? '')?.[1];
      return [
        {
          pid,
          startTime: fields[19],
          network: link(`/proc/${pid}/ns/net`),
          description: [`${pid} ${command}`, home && `BERTH_HOME=${home}`, cgroup && `cgroup ${cgroup}`].filter(Boolean).join(', '),
        },
      ];
    });
}

function readCgroups() {
  const found = new Map();
  const walk = (folder) => {
    for (const entry of entries(folder)) {
      if (!entry.isDirectory()) continue;
      const path = join(folder, entry.name);
      found.set(path, path);
      walk(path);
    }
  };
  for (const line of lines('/proc/self/mountinfo')) {
    const [left, right] = line.split(' - ');
    if (/^cgroup2? /.test(right)) walk(left.split(' ')[4]);
  }
  return found;
}

/** Namespaces of processes, and those that a bind mount keeps alive without any. */
function readNetworkNamespaces(processes) {
  const found = new Map();
  for (const { network, description } of processes) if (network && !found.has(network)) found.set(network, `${network} of ${description}`);
  for (const line of lines('/proc/self/mountinfo')) {
    const fields = line.split(' ');
    if (fields[3].startsWith('net:[')) found.set(fields[3], `${fields[3]} kept by ${fields[4]}`);
  }
  return found;
}

function readLoopDevices() {
  return new Map(
    entries('/sys/block')
      .filter(({ name }) => name.startsWith('loop') && existsSync(`/sys/block/${name}/loop/backing_file`))
      .map(({ name }) => [name, `/dev/${name} of ${text(`/sys/block/${name}/loop/backing_file`)?.trim()}`]),
  );
}

/** SysV objects of one kind that this IPC namespace shows, with their owner. */
function readIpcObjects(kind) {
  const [head = '', ...rows] = lines(`/proc/sysvipc/${kind}`).map((line) => line.trim().split(/\s+/));
  return rows.map((row) => [`${kind} ${row[1]}`, `${kind} ${row[1]} of uid ${row[head.indexOf('uid')]}`]);
}

/**
 * Whether a description of these kinds can be of a container or of a service that runs as root. Servers that tests of others start run as accounts of
 * their own, and what belongs to the whole machine has no name that would tell.
 */
export const isOfRootOrContainer = (text, kind) =>
  kind === 'loop devices' || kind === 'key rings' || (kind === 'IPC objects' && /of uid (0|\d{6,})$/.test(text));

function mountText(line) {
  const [left, right] = line.split(' - ');
  return `${left.split(' ')[4]} (${right.split(' ')[0]})`;
}

const lines = (path) => (text(path) ?? '').split('\n').filter((line) => line !== '');

function text(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function link(path) {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function entries(folder) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

/** Descriptors that a process holds open. */
export const openDescriptors = (pid) => entries(`/proc/${pid}/fd`).length;

/** Files, folders and links below a path, itself included; 0 when it is not there. */
export function countInodes(path) {
  if (!statSync(path, { throwIfNoEntry: false })) return 0;
  return entries(path).reduce((sum, entry) => sum + (entry.isDirectory() ? countInodes(join(path, entry.name)) : 1), 1);
}

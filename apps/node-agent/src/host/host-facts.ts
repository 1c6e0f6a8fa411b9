import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import { availableParallelism, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export type CgroupMode = 'v1' | 'v2' | 'hybrid';

/** One mounted cgroup hierarchy. */
export interface CgroupHierarchy {
  readonly mount: string;
  readonly v2: boolean;
  /** Names of a v1 hierarchy's controllers; empty for v2 and for hierarchies that only name groups. */
  readonly controllers: readonly string[];
}

/** What the agent must know of its machine. */
export interface HostFacts {
  readonly kernel: string;
  readonly architecture: 'amd64' | 'arm64';
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly cgroupMode: CgroupMode;
  readonly hierarchies: readonly CgroupHierarchy[];
  /** Whether memory limits can count swap. */
  readonly swapAccounting: boolean;
  /** The hard limit of open files that containers can be given. */
  readonly maxOpenFiles: number;
}

/** Reads the machine's facts. Throws when it cannot give what every container must have. */
export async function readHostFacts(): Promise<HostFacts> {
  await requireOverlay();
  const hierarchies = parseCgroupMounts(await readFile('/proc/self/mountinfo', 'utf8'));
  const cgroupMode = cgroupModeOf(hierarchies);
  const swapAccounting = await countsSwap(hierarchies);
  const swapFiles = (await readFile('/proc/swaps', 'utf8').catch(() => '')).trim().split('\n').length - 1;
  if (!swapAccounting && swapFiles > 0) {
    throw new Error('this machine has swap but does not count it for cgroups: boot with swapaccount=1, or switch swap off');
  }
  if (process.arch !== 'x64' && process.arch !== 'arm64') throw new Error(`Berth runs on amd64 and arm64, not on ${process.arch}`);
  return {
    kernel: release(),
    architecture: process.arch === 'x64' ? 'amd64' : 'arm64',
    cpuMillis: availableParallelism() * 1000,
    memoryBytes: totalmem(),
    cgroupMode,
    hierarchies,
    swapAccounting,
    maxOpenFiles: parseMaxOpenFiles(await readFile('/proc/self/limits', 'latin1')),
  };
}

/** The cgroup hierarchies in the text of /proc/self/mountinfo (proc(5)); of one that is mounted twice, the first. */
export function parseCgroupMounts(mountinfo: string): CgroupHierarchy[] {
  const found: CgroupHierarchy[] = [];
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ');
    const mount = left?.split(' ')[4];
    const [type, , superOptions] = right?.split(' ') ?? [];
    if (mount === undefined || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    const controllers =
      type === 'cgroup2'
        ? []
        : (superOptions ?? '')
            .split(',')
            .filter((option) => /^[a-z_]+$/.test(option) && !['rw', 'ro', 'xattr', 'clone_children', 'noprefix'].includes(option));
    const key = (one: Pick<CgroupHierarchy, 'v2' | 'controllers'>): string => `${one.v2} ${one.controllers.join()}`;
    const hierarchy = { mount, v2: type === 'cgroup2', controllers };
    if (controllers.length > 0 || hierarchy.v2) if (found.some((one) => key(one) === key(hierarchy))) continue;
    found.push(hierarchy);
  }
  return found;
}

/** Throws when no hierarchy holds controllers. */
export function cgroupModeOf(hierarchies: readonly CgroupHierarchy[]): CgroupMode {
  const v1 = hierarchies.some((one) => one.controllers.length > 0);
  const v2 = hierarchies.some((one) => one.v2);
  if (v1) return v2 ? 'hybrid' : 'v1';
  if (v2) return 'v2';
  throw new Error('no cgroup hierarchy is mounted: containers cannot be limited');
}

/** The hard limit in the text of /proc/self/limits. */
export function parseMaxOpenFiles(limits: string): number {
  const found = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return found === 'unlimited' || found === undefined ? 1_048_576 : Number(found);
}

/** The kernel loads the module itself where a mount asks for it, but not on every machine. */
async function requireOverlay(): Promise<void> {
  const isThere = async (): Promise<boolean> => /^\S*\toverlay$/m.test(await readFile('/proc/filesystems', 'latin1'));
  if (await isThere()) return;
  await promisify(execFile)('modprobe', ['overlay']).catch(() => {});
  if (!(await isThere())) throw new Error('this kernel has no overlayfs: containers could not share layers');
}

async function countsSwap(hierarchies: readonly CgroupHierarchy[]): Promise<boolean> {
  const memory = hierarchies.find((one) => one.controllers.includes('memory'));
  // On v2 swap is counted unless the machine was booted with swapaccount=0.
  if (memory === undefined) return !/\bswapaccount=0\b/.test(await readFile('/proc/cmdline', 'latin1').catch(() => ''));
  return access(join(memory.mount, 'memory.memsw.limit_in_bytes')).then(
    () => true,
    () => false,
  );
}

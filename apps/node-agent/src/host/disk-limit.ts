import { randomBytes } from 'node:crypto';
import { rm, statfs, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { idRangeOfSlot } from '@berth/core';
import { type DiskLimitMethod, diskLimitMethods, type SnapshotLimit, type Snapshotter } from '@berth/image';

/** What the operator says of it: the first way that works here, one alone, or none. */
export const diskLimitChoices = ['auto', ...diskLimitMethods, 'none'] as const;
export type DiskLimitChoice = (typeof diskLimitChoices)[number];

/** How this node bounds writable layers. */
export interface DiskLimit {
  /** Null: it cannot, or is not to. */
  readonly by: DiskLimitMethod | null;
  /** Why ways that come first do not work here, one sentence each. */
  readonly reasons: readonly string[];
}

const key = 'probe-disk-limit';
const probeBytes = 1024 * 1024;
const probeInodes = 256;
/** As many bytes to a file as ext4 reckons with; small layers get a few more. */
const bytesPerInode = 16_384;
const leastInodes = 256;
/** ENOSPC, and EDQUOT, for which Node.js has no name. */
const noRoom = [-constants.errno.ENOSPC, -constants.errno.EDQUOT];
/** What a node leaves of its free disk to layers, logs and itself. */
const offeredPart = 0.75;

/**
 * Finds how this machine bounds writable layers, by doing it: each way in turn makes a small one and must stop what is written beyond it. Throws, with the
 * fix, when the way that was chosen does not work.
 */
export async function probeDiskLimit(snapshotter: Snapshotter, choice: DiskLimitChoice): Promise<DiskLimit> {
  const reasons: string[] = [];
  if (choice === 'none') return { by: null, reasons };
  for (const by of choice === 'auto' ? diskLimitMethods : [choice]) {
    const reason = await whyNot(snapshotter, by);
    if (reason === null) return { by, reasons };
    reasons.push(`${by}: ${reason}`);
  }
  if (choice === 'auto') return { by: null, reasons };
  throw new Error(`BERTH_DISK_LIMIT: this machine cannot bound writable layers so: ${reasons.join('; ')}; choose another way, or auto`);
}

/** What a container may write that asks for so many bytes. */
export function snapshotLimit(by: DiskLimitMethod, bytes: number): SnapshotLimit {
  return { by, bytes, inodes: Math.max(leastInodes, Math.floor(bytes / bytesPerInode)) };
}

/** How much disk a node offers that is not told: most of what is free now, or its containers' memory where that is what they write to. */
export async function diskCapacity(by: DiskLimitMethod, directory: string, memoryBytes: number): Promise<number> {
  if (by === 'tmpfs') return memoryBytes;
  const { bavail, bsize } = await statfs(directory);
  return Math.floor(bavail * bsize * offeredPart);
}

async function whyNot(snapshotter: Snapshotter, by: DiskLimitMethod): Promise<string | null> {
  const ids = idRangeOfSlot(0);
  const limit = { by, bytes: probeBytes, inodes: probeInodes };
  try {
    const { rootfs } = await snapshotter.prepare(key, [], { uidBase: ids.base, uidCount: ids.count }, limit);
    return (await holds(join(rootfs, 'probe'))) ? null : 'what is written beyond the limit is not stopped';
  } catch (error) {
    return (error as Error).message;
  } finally {
    await snapshotter.remove(key);
  }
}

async function holds(path: string): Promise<boolean> {
  try {
    // Bytes that no filesystem can make smaller.
    await writeFile(path, randomBytes(2 * probeBytes), { flush: true });
    return false;
  } catch (error) {
    if (noRoom.includes((error as NodeJS.ErrnoException).errno ?? 0)) return true;
    throw error;
  } finally {
    await rm(path, { force: true });
  }
}

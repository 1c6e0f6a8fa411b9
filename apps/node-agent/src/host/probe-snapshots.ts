import { rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { idRangeOfSlot } from '@berth/core';
import type { Snapshotter } from '@berth/image';

const key = 'probe-snapshot';
/** statfs(2)'s f_type of filesystems that cannot hold what Berth keeps. */
const names: ReadonlyMap<number, string> = new Map([
  [0x794c7630, 'overlayfs'],
  [0x6969, 'NFS'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9p'],
]);

/**
 * Makes one snapshot as every container has it, writes into it and removes it. Throws when this filesystem cannot be the upper of an overlay or be
 * mounted with other ids: what is wrong with it and where to go instead, once, rather than as the failure of each run.
 */
export async function probeSnapshots(snapshotter: Snapshotter, directory: string): Promise<void> {
  const ids = idRangeOfSlot(0);
  try {
    const { rootfs } = await snapshotter.prepare(key, [], { uidBase: ids.base, uidCount: ids.count });
    // An overlay whose upper does not suit is mounted all the same, but read-only.
    await writeFile(join(rootfs, 'probe'), '');
    await rm(join(rootfs, 'probe'));
  } catch (error) {
    const { type } = await statfs(directory);
    const name = names.get(type);
    const where = name === undefined ? `the filesystem of ${directory}` : `${directory} is on ${name}, which`;
    const message = `${where} cannot hold containers: set BERTH_HOME to a folder on ext4, xfs or btrfs (${(error as Error).message})`;
    throw new Error(message, { cause: error });
  } finally {
    await snapshotter.remove(key);
  }
}

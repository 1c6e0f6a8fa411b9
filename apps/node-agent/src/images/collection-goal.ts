import { statfs } from 'node:fs/promises';

/** When the node's disk is too full for images that nothing uses. */
export interface DiskMarks {
  /** Above so many percent of the disk, collection begins; 100 never. */
  readonly highPercent: number;
  /** It goes on until no more than so many percent are used. */
  readonly lowPercent: number;
  /** The same by the space of the layers themselves, in bytes; null: no bound. The low mark is in the same proportion to it. */
  readonly imagesMaxBytes: number | null;
}

/** A filesystem as an ordinary user of it sees it: what root alone may fill counts as used. */
export interface DiskSpace {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

/** How many bytes of layers should go; 0 where no mark is passed. Pure. */
export function bytesToFree({ capacityBytes, availableBytes }: DiskSpace, layerBytes: number, marks: DiskMarks): number {
  const { highPercent, lowPercent, imagesMaxBytes } = marks;
  const usedBytes = capacityBytes - availableBytes;
  const overDisk = usedBytes > (capacityBytes * highPercent) / 100 && highPercent < 100;
  const ofDisk = overDisk ? usedBytes - Math.floor((capacityBytes * lowPercent) / 100) : 0;
  const ofImages =
    imagesMaxBytes !== null && layerBytes > imagesMaxBytes ? layerBytes - Math.floor((imagesMaxBytes * lowPercent) / highPercent) : 0;
  return Math.max(ofDisk, ofImages);
}

/** The filesystem on which a folder is. */
export async function diskSpace(directory: string): Promise<DiskSpace> {
  const { blocks, bavail, bsize } = await statfs(directory);
  return { capacityBytes: blocks * bsize, availableBytes: bavail * bsize };
}

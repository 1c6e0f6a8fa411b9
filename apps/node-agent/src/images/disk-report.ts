import type { ContentStore } from '@berth/image';
import type { NodeDisk } from '@berth/wire';
import { type DiskSpace, diskSpace } from './collection-goal.js';

/** Changes of the free space below this part of the whole are told with the next greater one: each is a write to the database. */
const noticedPart = 0.01;

/** What the node tells of its disk, and whether it is worth telling. */
export class DiskReport {
  #space: DiskSpace | null = null;
  #told: NodeDisk | null = null;

  constructor(
    private readonly store: ContentStore,
    private readonly directory: string,
  ) {}

  /** Looks at the filesystem, for the next question. */
  async refresh(): Promise<void> {
    this.#space = await diskSpace(this.directory);
  }

  /** Everything anew, for a control plane that may know nothing. */
  forget(): void {
    this.#told = null;
  }

  /** Null while it is as it was told last, or before the first look. */
  changed(): NodeDisk | null {
    if (this.#space === null) return null;
    const { images, ...usage } = this.store.usage();
    const disk: NodeDisk = { ...this.#space, ...usage, images: images.length };
    if (this.#told !== null && isAlike(disk, this.#told)) return null;
    this.#told = disk;
    return disk;
  }
}

function isAlike(disk: NodeDisk, told: NodeDisk): boolean {
  const { availableBytes, ...rest } = disk;
  const { availableBytes: toldBytes, ...toldRest } = told;
  return JSON.stringify(rest) === JSON.stringify(toldRest) && Math.abs(availableBytes - toldBytes) < noticedPart * disk.capacityBytes;
}

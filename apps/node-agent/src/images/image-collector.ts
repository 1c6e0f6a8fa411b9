import type { ContentStore, RemovedContent, Snapshotter } from '@berth/image';
import type { Logger } from 'pino';
import { bytesToFree, type DiskMarks, diskSpace } from './collection-goal.js';

export interface CollectorOptions {
  readonly store: ContentStore;
  readonly snapshotter: Snapshotter;
  /** A folder on the disk that holds the layers. */
  readonly directory: string;
  readonly marks: DiskMarks;
  readonly checkMs: number;
  /** Digests of the images of all attempts, from their assignment to their removal. */
  readonly inUse: () => Iterable<string>;
  /** Lets go of what stands on images without being an attempt's. */
  readonly beforeCollecting?: () => Promise<void>;
  readonly onCollected: (removed: RemovedContent) => void;
  readonly log: Logger;
}

const nothing: RemovedContent = { images: [], layers: [], bytes: 0 };

/**
 * Keeps a node's disk below its mark by removing images that nothing uses, least recently used first. What an attempt has or awaits, what a snapshot
 * stands on and what a pull brings stays, however full the disk is.
 */
export class ImageCollector {
  #timer: NodeJS.Timeout | undefined;
  #collecting: Promise<RemovedContent> | undefined;
  /** Whether the last look left the disk above its mark, so that it is said once. */
  #full = false;

  constructor(private readonly options: CollectorOptions) {}

  /** Looks now and then until `stop`. */
  start(): void {
    this.#timer = setInterval(() => this.lookSoon(), this.options.checkMs);
    this.#timer.unref();
    this.lookSoon();
  }

  /** Resolves when nothing is being removed any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#collecting?.catch(() => {});
  }

  /** Looks at the disk without making anybody wait: after a pull, say. */
  lookSoon(): void {
    this.look().catch((error: unknown) => this.options.log.error({ err: error }, 'images could not be collected'));
  }

  /** Removes what the marks ask for. */
  async look(): Promise<RemovedContent> {
    const { store, marks, log } = this.options;
    // Running containers keep their images young: what ends last is collected last.
    for (const digest of new Set(this.options.inUse())) await store.markUsed(digest);
    const wantedBytes = bytesToFree(await diskSpace(this.options.directory), store.usage().totalBytes, marks);
    if (wantedBytes === 0) {
      this.#full = false;
      return nothing;
    }
    const removed = await this.collect(wantedBytes);
    const short = removed.bytes < wantedBytes;
    if (short && !this.#full)
      log.warn({ wantedBytes, freedBytes: removed.bytes }, 'the disk stays above its mark: all other images are in use');
    this.#full = short;
    return removed;
  }

  /** Removes unused images until so many bytes are free; all of them for Infinity. One at a time: who asks meanwhile gets what is under way. */
  collect(wantedBytes: number): Promise<RemovedContent> {
    this.#collecting ??= this.#collect(wantedBytes).finally(() => {
      this.#collecting = undefined;
    });
    return this.#collecting;
  }

  async #collect(wantedBytes: number): Promise<RemovedContent> {
    const { store, snapshotter, inUse, beforeCollecting, onCollected, log } = this.options;
    await beforeCollecting?.();
    const layers = (await snapshotter.list()).flatMap((snapshot) => snapshot.layers);
    // Read at the last moment: an attempt that began during the look above is among them, and the store removes before anything else can begin.
    const removed = await store.removeUnused({ images: inUse(), layers }, wantedBytes);
    if (removed.images.length + removed.layers.length > 0) {
      log.info({ images: removed.images, layers: removed.layers.length, freedBytes: removed.bytes }, 'unused images were removed');
    }
    onCollected(removed);
    return removed;
  }
}

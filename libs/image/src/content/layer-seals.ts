import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readRecord, writeDurably } from './durable-files.js';
import type { LayerProgram } from './layer-program.js';

/** What a store knows of the machine's boots; kept as boot.json. */
interface BootRecord {
  readonly bootId: string;
  /** Whether the store was closed: nothing was under way after that, and what lacks a seal gets it when the store is opened again. */
  readonly closed: boolean;
  /** Diff ids of layers that were there before an unclean stop and have not been read since. */
  readonly unchecked: readonly string[];
}

export interface LayerSealsOptions {
  /** The store's; boot.json is kept there. */
  readonly dir: string;
  readonly bootId: string;
  readonly program: Pick<LayerProgram, 'digest'>;
  /** The image of a layer; its seal is kept beside it. */
  readonly imagePath: (diffId: string) => string;
  /** Removes a layer that is not what it was; it must not be had again when this returns. */
  readonly removeSpoilt: (diffId: string) => Promise<void>;
}

const sealName = 'image.sha256';

/**
 * The sha256 of each layer's image, written beside it soon after it was made, and compared after the machine stopped without the store having been closed: a
 * disk that lost power may hold other bytes than it was given.
 *
 * INVARIANTS
 * - A layer that was there before an unclean stop is unchecked until its image was read and is what its seal says; one without a seal is not.
 * - Only a restart of the machine makes layers unchecked: what a process that dies has written, the kernel still has. So no unchecked layer is mounted.
 * - What is unchecked is on disk before it is worked off, so that it stays unchecked however often the agent starts meanwhile.
 */
export class LayerSeals {
  readonly #options: LayerSealsOptions;
  readonly #unchecked = new Set<string>();
  readonly #checks = new Map<string, Promise<void>>();
  readonly #unsealed = new Set<string>();
  #making = 0;
  #closed = false;
  #checking: Promise<void> = Promise.resolve();
  #sealing: Promise<void> | undefined;
  #recording: Promise<void> = Promise.resolve();

  constructor(options: LayerSealsOptions) {
    this.#options = options;
  }

  /** Takes up the images (by diff id) that the store holds. What has to be read is read later, by and by. */
  async open(images: readonly string[]): Promise<void> {
    const { dir, bootId } = this.#options;
    const last = await readRecord<BootRecord>(join(dir, 'boot.json'));
    // A store of a Berth that kept no such record is believed, this once.
    const stopped = last !== undefined && last.bootId !== bootId && !last.closed;
    const doubted = new Set(stopped ? images : (last?.unchecked ?? []));
    for (const diffId of images) {
      if (doubted.has(diffId)) this.#unchecked.add(diffId);
      else if ((await this.#sealOf(diffId)) === undefined) this.#unsealed.add(diffId);
    }
    await this.#record();
    this.#checking = this.#checkAll();
    this.#sealSoon();
  }

  /** True for a layer that must not be used yet. */
  isUnchecked(diffId: string): boolean {
    return this.#unchecked.has(diffId);
  }

  /** Resolves when none of the layers is unchecked any more: those that were spoilt are removed then. */
  async checked(diffIds: Iterable<string>): Promise<void> {
    for (const diffId of diffIds) if (this.#unchecked.has(diffId)) await this.#check(diffId);
  }

  /** Holds the sealing off while a layer is made, whose bytes need the processor more; the returned function ends that. */
  making(): () => void {
    this.#making++;
    return () => {
      this.#making--;
      this.#sealSoon();
    };
  }

  /** Has the image of a layer that was just made sealed, soon. */
  add(diffId: string): void {
    this.#unsealed.add(diffId);
    this.#sealSoon();
  }

  /** Resolves when nothing is being sealed, or waits for it, unless a layer is being made. */
  async sealed(): Promise<void> {
    while (this.#sealing !== undefined) await this.#sealing;
  }

  /** Ends what is under way, and notes that the store was closed. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#checking;
    await this.sealed();
    await this.#record();
  }

  async #checkAll(): Promise<void> {
    // A failure is the machine's, and leaves the layer unchecked: whoever wants it meets the failure again.
    for (const diffId of [...this.#unchecked]) if (!this.#closed) await this.checked([diffId]).catch(() => {});
  }

  #check(diffId: string): Promise<void> {
    let check = this.#checks.get(diffId);
    if (check === undefined) {
      check = this.#compare(diffId).finally(() => this.#checks.delete(diffId));
      this.#checks.set(diffId, check);
    }
    return check;
  }

  async #compare(diffId: string): Promise<void> {
    const { program, imagePath, removeSpoilt } = this.#options;
    const seal = await this.#sealOf(diffId);
    // A file that the disk does not give back is no better than a wrong one.
    const digest = await program.digest(imagePath(diffId)).catch(() => undefined);
    if (seal === undefined || digest !== seal) await removeSpoilt(diffId);
    await this.#record(diffId);
    this.#unchecked.delete(diffId);
  }

  #sealSoon(): void {
    if (this.#making > 0 || this.#closed || this.#unsealed.size === 0) return;
    this.#sealing ??= this.#sealAll().finally(() => {
      this.#sealing = undefined;
      this.#sealSoon();
    });
  }

  async #sealAll(): Promise<void> {
    const { program, imagePath } = this.#options;
    for (const diffId of this.#unsealed) {
      if (this.#making > 0 || this.#closed) return;
      this.#unsealed.delete(diffId);
      const path = imagePath(diffId);
      // One that is collected meanwhile needs no seal; one that gets none, for want of space say, is pulled again should the machine stop.
      await program
        .digest(path)
        .then((digest) => writeDurably(join(path, '..'), sealName, digest))
        .catch(() => {});
    }
  }

  async #sealOf(diffId: string): Promise<string | undefined> {
    return readFile(join(this.#options.imagePath(diffId), '..', sealName), 'utf8').catch(() => undefined);
  }

  /** Writes boot.json as things stand, without a layer that is about to be checked; one after the other. */
  #record(without?: string): Promise<void> {
    const write = this.#recording.then(() => {
      const unchecked = [...this.#unchecked].filter((diffId) => diffId !== without);
      const record: BootRecord = { bootId: this.#options.bootId, closed: this.#closed, unchecked };
      return writeDurably(this.#options.dir, 'boot.json', JSON.stringify(record));
    });
    this.#recording = write.catch(() => {});
    return write;
  }
}

import { randomBytes } from 'node:crypto';
import { renameSync, rmSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isValidDigest } from '@berth/core';
import { parseImageConfig } from '../image-config.js';
import { readRecord, writeDurably } from './durable-files.js';
import { type LayerForm, LayerProgram } from './layer-program.js';
import { LayerSeals } from './layer-seals.js';
import { layerSharing, type StoreUsage } from './layer-sharing.js';
import { PartialBlobs } from './partial-blobs.js';
import { type CollectableImage, planCollection } from './plan-collection.js';
import type { PulledImage } from './pulled-image.js';

/** A place from which a layer's or an image's bytes came, whole and verified. */
export interface ContentSource {
  readonly registry: string;
  readonly digest: string;
}

/** What is known of a layer; kept beside it as layer.json. */
export interface LayerRecord {
  readonly diffId: string;
  /** Disk space. */
  readonly bytes: number;
  readonly entries: number;
  /** Length of the uncompressed archive. */
  readonly archiveBytes: number;
  /** A layer of an older store, which says nothing, is a directory. */
  readonly form?: LayerForm | undefined;
  readonly sources: readonly ContentSource[];
}

/** What is known of an image; kept as images/HEX.json. */
export interface ImageRecord {
  readonly digest: string;
  readonly manifestDigest: string;
  /** The configuration's text, as the registry served it. */
  readonly config: string;
  /** Lowest first. */
  readonly layers: readonly { readonly digest: string; readonly diffId: string }[];
  readonly sources: readonly ContentSource[];
}

export interface ContentStoreOptions {
  /** Made when missing, for this process alone (0700): set-id files of the layers must not be in other users' reach. */
  readonly dir: string;
  readonly berthLayerPath: string;
  /** What layers become that are not here yet; `image` where it is silent. `probeLayerForm` tells what this machine can mount. */
  readonly form?: LayerForm | undefined;
  /** Of the machine as it runs now; /proc/sys/kernel/random/boot_id where it is silent. */
  readonly bootId?: string | undefined;
  /** Told of a layer (by diff id) that an unclean stop of the machine spoilt, and that is removed. */
  readonly onSpoilt?: ((diffId: string) => void) | undefined;
}

export interface RemovedContent {
  readonly images: readonly string[];
  readonly layers: readonly string[];
  readonly bytes: number;
}

const nameOf: Readonly<Record<LayerForm, string>> = { image: 'image.erofs', directory: 'fs' };
const hexOf = (digest: string): string => digest.slice('sha256:'.length);

/**
 * Verified images and their layers on one machine's disk, owned by one process.
 *
 *     layers/HEX/image.erofs  the image of the layer whose diff id is sha256:HEX,
 *     layers/HEX/fs           or its tree
 *     layers/HEX/layer.json   a LayerRecord
 *     layers/HEX/image.sha256 of the image, for `LayerSeals`
 *     images/HEX.json         an ImageRecord; its modification time is the image's last use
 *     partial/                downloads that were cut, to be gone on with
 *     boot.json               since which boot the store is open, and what has to be checked
 *     tmp/                    what is being made or removed; emptied when the store is opened
 *
 * A layer and an image come into being by one rename, after their content is on disk, so that a crash leaves nothing but tmp/. A layer whose record a power
 * cut took is removed when the store is opened, and so is an image that lacks a layer.
 */
export class ContentStore {
  /** Downloads under way, and those that were cut. */
  readonly partials: PartialBlobs;
  readonly #dir: string;
  readonly #program: LayerProgram;
  readonly #form: LayerForm;
  readonly #layers = new Map<string, LayerRecord>();
  readonly #images = new Map<string, ImageRecord>();
  readonly #lastUsedMs = new Map<string, number>();
  readonly #pins = new Map<string, number>();
  readonly #seals: LayerSeals;

  private constructor(options: ContentStoreOptions, bootId: string) {
    this.#dir = options.dir;
    this.partials = new PartialBlobs(join(options.dir, 'partial'));
    this.#program = new LayerProgram(options.berthLayerPath);
    this.#form = options.form ?? 'image';
    this.#seals = new LayerSeals({
      dir: options.dir,
      bootId,
      program: this.#program,
      imagePath: (diffId) => this.layerPath(diffId),
      removeSpoilt: async (diffId) => {
        if (!this.#layers.has(diffId)) return;
        options.onSpoilt?.(diffId);
        await this.#removeSpoilt(diffId);
      },
    });
  }

  static async open(options: ContentStoreOptions): Promise<ContentStore> {
    const bootId = options.bootId ?? (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
    const store = new ContentStore(options, bootId);
    await mkdir(options.dir, { recursive: true, mode: 0o700 });
    for (const part of ['layers', 'images', 'tmp']) await mkdir(join(options.dir, part), { recursive: true, mode: 0o700 });
    for (const leftover of await readdir(join(options.dir, 'tmp'))) await store.#program.remove(join(options.dir, 'tmp', leftover));
    await store.partials.prepare();
    await store.#load();
    await store.#seals.open(store.layerIds().filter((diffId) => store.#formOf(diffId) === 'image'));
    return store;
  }

  /** Notes that the store is in nobody's hands any more, so that a machine which goes down later does not call its layers into question. */
  close(): Promise<void> {
    return this.#seals.close();
  }

  /**
   * Resolves when the layers are either as they were made or not here: after an unclean stop of the machine each is read once before it is used, in the
   * background or now.
   */
  checked(diffIds: Iterable<string>): Promise<void> {
    return this.#seals.checked(diffIds);
  }

  /** Resolves when what was made until now can be checked after an unclean stop; sealing waits while layers are made. */
  sealed(): Promise<void> {
    return this.#seals.sealed();
  }

  /** The image of that digest, if all of it is here and checked. Says nothing of who may use it: `ImagePuller` asks the registry. */
  image(digest: string): PulledImage | undefined {
    const record = this.#images.get(digest);
    if (!record || !this.hasAll(digest)) return undefined;
    const layers = record.layers.map((layer) => ({
      ...layer,
      path: this.layerPath(layer.diffId),
      form: this.#formOf(layer.diffId),
      bytes: this.#layers.get(layer.diffId)?.bytes ?? 0,
    }));
    return { digest, manifestDigest: record.manifestDigest, config: parseImageConfig(Buffer.from(record.config)), layers };
  }

  /** Whether the image and all its layers are on this machine, as they were made. */
  hasAll(digest: string): boolean {
    return this.#images.get(digest)?.layers.every(({ diffId }) => this.#layers.has(diffId) && !this.#seals.isUnchecked(diffId)) ?? false;
  }

  imageRecord(digest: string): ImageRecord | undefined {
    return this.#images.get(digest);
  }

  layerRecord(diffId: string): LayerRecord | undefined {
    return this.#layers.get(diffId);
  }

  /** Diff ids of all layers, for a scheduler that places runs near their bytes. */
  layerIds(): readonly string[] {
    return [...this.#layers.keys()];
  }

  /** Where a layer's image or tree stands. */
  layerPath(diffId: string): string {
    return join(this.#dir, 'layers', hexOf(diffId), nameOf[this.#formOf(diffId)]);
  }

  #formOf(diffId: string): LayerForm {
    return this.#layers.get(diffId)?.form ?? 'directory';
  }

  /** Keeps images (by digest) and layers (by diff id), there or yet to come, from `removeUnused` until the returned function is called. */
  pin(ids: readonly string[]): () => void {
    for (const id of ids) this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
    return () => {
      for (const id of ids) {
        const left = (this.#pins.get(id) ?? 1) - 1;
        if (left > 0) this.#pins.set(id, left);
        else this.#pins.delete(id);
      }
    };
  }

  /** Adds a layer: `make` makes it, verified, at the path that it is given, on disk when it returns. Nothing of it remains when it throws. */
  async addLayer(
    diffId: string,
    make: (program: LayerProgram, form: LayerForm, path: string) => Promise<Omit<LayerRecord, 'diffId' | 'form'>>,
  ): Promise<LayerRecord> {
    const temporary = join(this.#dir, 'tmp', randomBytes(12).toString('hex'));
    const form = this.#form;
    const made = this.#seals.making();
    try {
      await mkdir(temporary, { mode: 0o700 });
      const path = join(temporary, nameOf[form]);
      if (form === 'directory') await mkdir(path, { mode: 0o755 });
      const record: LayerRecord = { diffId, form, ...(await make(this.#program, form, path)) };
      // The layer is on disk already. Should a power cut take its record or its name, it is as if it had not been pulled: no more has to be awaited here.
      await writeFile(join(temporary, 'layer.json'), JSON.stringify(record), { mode: 0o600 });
      await rename(temporary, join(this.#dir, 'layers', hexOf(diffId)));
      this.#layers.set(diffId, record);
      if (form === 'image') this.#seals.add(diffId);
      return record;
    } catch (error) {
      await this.#program.remove(temporary);
      throw error;
    } finally {
      made();
    }
  }

  /** Compares a blob's bytes with both digests of a layer that is here; see `LayerProgram.verify`. */
  verify(...[blob, archiveBytesMax, chunks]: Parameters<LayerProgram['verify']>): Promise<void> {
    return this.#program.verify(blob, archiveBytesMax, chunks);
  }

  /** Notes that a registry has proved to hold a layer's bytes. */
  async addLayerSource(diffId: string, source: ContentSource): Promise<void> {
    const record = this.#layers.get(diffId);
    if (!record || hasSource(record.sources, source)) return;
    const updated = { ...record, sources: [...record.sources, source] };
    this.#layers.set(diffId, updated);
    await writeDurably(join(this.#dir, 'layers', hexOf(diffId)), 'layer.json', JSON.stringify(updated));
  }

  /** Adds an image whose layers are all here, or another source of one that is known. */
  async addImage(image: ImageRecord): Promise<void> {
    const missing = image.layers.find(({ diffId }) => !this.#layers.has(diffId));
    if (missing) throw new Error(`layer ${missing.diffId} of image ${image.digest} is not in the store`);
    const known = this.#images.get(image.digest)?.sources ?? [];
    const sources = [...known, ...image.sources.filter((source) => !hasSource(known, source))];
    const record = { ...image, sources };
    this.#images.set(image.digest, record);
    this.#lastUsedMs.set(image.digest, Date.now());
    await writeDurably(join(this.#dir, 'images'), `${hexOf(image.digest)}.json`, JSON.stringify(record));
  }

  /** Notes that an image is in use now: what was used least recently is collected first, also after a restart. */
  async markUsed(digest: string): Promise<void> {
    if (!this.#images.has(digest)) return;
    const now = new Date();
    this.#lastUsedMs.set(digest, now.getTime());
    // Its order alone suffers when the disk takes no more, or when it is collected in this moment.
    await utimes(this.#imagePath(digest), now, now).catch(() => {});
  }

  /** All images, with the diff ids of their layers and their last use. */
  images(): readonly CollectableImage[] {
    return [...this.#images.values()].map(({ digest, layers }) => ({
      digest,
      layers: layers.map(({ diffId }) => diffId),
      lastUsedMs: this.#lastUsedMs.get(digest) ?? 0,
    }));
  }

  usage(): StoreUsage {
    return layerSharing(this.images(), this.#bytesOf());
  }

  #bytesOf(): Map<string, number> {
    return new Map([...this.#layers].map(([diffId, { bytes }]) => [diffId, bytes]));
  }

  #imagePath(digest: string): string {
    return join(this.#dir, 'images', `${hexOf(digest)}.json`);
  }

  /**
   * Removes images that are not in `keep.images`, least recently used first, until `wantedBytes` of disk space are free, or all of them where it is silent;
   * with them the layers that neither an image, nor `keep.layers` (the diff ids of all snapshots), nor a pull under way uses. A caller that is about to start
   * a container keeps its image.
   */
  async removeUnused(keep: { images: Iterable<string>; layers: Iterable<string> }, wantedBytes = Infinity): Promise<RemovedContent> {
    const kept = [...keep.images, ...keep.layers, ...this.#pins.keys()];
    const { images, layers, bytes } = planCollection(this.images(), this.#bytesOf(), kept, wantedBytes);
    // All of it gone before the first await: a pull that begins meanwhile must find a layer either whole or absent, in memory and on disk alike.
    for (const digest of images) this.#dropImage(digest);
    const doomed = layers.map((diffId) => this.#dropLayer(diffId));
    for (const temporary of doomed) await this.#program.remove(temporary);
    await this.partials.clear();
    return { images, layers, bytes };
  }

  async #removeSpoilt(diffId: string): Promise<void> {
    for (const { digest, layers } of this.images()) if (layers.includes(diffId)) this.#dropImage(digest);
    await this.#program.remove(this.#dropLayer(diffId));
  }

  #dropImage(digest: string): void {
    this.#images.delete(digest);
    this.#lastUsedMs.delete(digest);
    rmSync(this.#imagePath(digest), { force: true });
  }

  /** Takes a layer out of the store, and returns where it waits for its removal. */
  #dropLayer(diffId: string): string {
    const temporary = join(this.#dir, 'tmp', randomBytes(12).toString('hex'));
    this.#layers.delete(diffId);
    renameSync(join(this.#dir, 'layers', hexOf(diffId)), temporary);
    return temporary;
  }

  async #load(): Promise<void> {
    for (const hex of await readdir(join(this.#dir, 'layers'))) {
      const record = await readRecord<LayerRecord>(join(this.#dir, 'layers', hex, 'layer.json'));
      if (record && record.diffId === `sha256:${hex}`) this.#layers.set(record.diffId, record);
      // Its place must be free for the layer to come again.
      else await this.#program.remove(join(this.#dir, 'layers', hex));
    }
    for (const name of await readdir(join(this.#dir, 'images'))) {
      const record = await readRecord<ImageRecord>(join(this.#dir, 'images', name));
      const whole = record?.layers.every(({ diffId }) => this.#layers.has(diffId));
      if (record && whole && isValidDigest(record.digest) && name === `${hexOf(record.digest)}.json`) {
        this.#images.set(record.digest, record);
        this.#lastUsedMs.set(record.digest, (await stat(this.#imagePath(record.digest))).mtimeMs);
      } else await rm(join(this.#dir, 'images', name), { force: true });
    }
  }
}

/** Whether a source is among those known. */
export const hasSource = (sources: readonly ContentSource[], { registry, digest }: ContentSource): boolean =>
  sources.some((known) => known.registry === registry && known.digest === digest);

import { parseImageReference } from '@berth/core';
import { ImageError, isTransient } from '../image-error.js';
import type { Platform } from '../platform.js';
import type { Descriptor } from '../registry/manifest.js';
import { type LayerCompression, layerCompression } from '../registry/media-types.js';
import type { ImageReference, RegistryClient } from '../registry/registry-client.js';
import { ContentStore, hasSource, type ImageRecord, type LayerRecord } from './content-store.js';
import type { UnpackLimits } from './layer-program.js';
import type { PulledImage, PullProgress } from './pulled-image.js';
import { SingleFlight } from './single-flight.js';

export interface PullOptions {
  /** Speaks to the image's registry with the credential of whoever asks. */
  readonly client: RegistryClient;
  readonly platform: Platform;
  /** Aborting gives up this wait; the pull itself ends only when nobody else waits for it. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

export interface PullLimits extends UnpackLimits {
  /** Layers of one image that are fetched at a time. */
  readonly parallelLayers: number;
}

export const DEFAULT_PULL_LIMITS: PullLimits = { layerBytesMax: 32 * 1024 ** 3, layerEntriesMax: 2_000_000, parallelLayers: 3 };

/** A smaller blob is fetched anew sooner than its beginning is kept. */
const RESUMED_BYTES_MIN = 256 * 1024;

interface LayerToPull {
  readonly blob: Descriptor;
  readonly diffId: string;
}

/** Waiters of another's flight try anew this often when it failed: its credential or its image may have been at fault, not theirs. */
const JOINED_FAILURES_MAX = 3;

/** One pull: what is asked, by whom, and how far it has come. */
class Pull {
  #downloadedBytes = 0;
  #totalBytes = 0;
  #layersDone = 0;

  constructor(
    readonly reference: ImageReference & { readonly digest: string },
    readonly client: RegistryClient,
    readonly signal: AbortSignal,
    readonly layersTotal: number,
    readonly report: (progress: PullProgress) => void,
  ) {}

  async *metered(chunks: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
    this.#totalBytes += bytes;
    for await (const chunk of chunks) {
      this.#downloadedBytes += chunk.length;
      this.#tell();
      yield chunk;
    }
  }

  layerDone(): void {
    this.#layersDone++;
    this.#tell();
  }

  #tell(): void {
    this.report({
      downloadedBytes: this.#downloadedBytes,
      totalBytes: this.#totalBytes,
      layersDone: this.#layersDone,
      layersTotal: this.layersTotal,
    });
  }
}

/**
 * Brings images into a content store: verified, each layer once, however many ask at the same time.
 *
 * The store is shared by all tenants of a machine, so having something in it is no permission to use it. Whoever asks proves it with the
 * registry: for an image or a layer that came from the reference's own registry, that registry must confirm, to the caller's credential, that
 * the repository holds it (one HEAD request). Another registry's word is worth nothing here, since a tenant may run it: there the bytes themselves must be shown
 * once, and are downloaded and hashed, though not unpacked again.
 */
export class ImagePuller {
  readonly #store: ContentStore;
  readonly #limits: PullLimits;
  readonly #images = new SingleFlight<PulledImage, PullProgress>();
  readonly #layers = new SingleFlight<LayerRecord>();

  constructor(store: ContentStore, limits: Partial<PullLimits> = {}) {
    this.#store = store;
    this.#limits = { ...DEFAULT_PULL_LIMITS, ...limits };
  }

  /**
   * The image of a digest (an index's or a manifest's), pulled where it is not here yet. Throws `ImageError`, a plain `Error` for a failure of this
   * machine (disk full), or the signal's reason.
   */
  async pull(image: { readonly reference: string; readonly digest: string }, options: PullOptions): Promise<PulledImage> {
    const { client, platform } = options;
    const reference = { ...parseImageReference(image.reference), digest: image.digest };
    const key = [reference.registry, reference.repository, reference.digest, platform, client.identity].join(' ');
    const { value } = await this.#images.run(key, options, (signal, report) => this.#pull(reference, client, platform, signal, report));
    return value;
  }

  async #pull(
    reference: ImageReference & { readonly digest: string },
    client: RegistryClient,
    platform: Platform,
    signal: AbortSignal,
    report: (progress: PullProgress) => void,
  ): Promise<PulledImage> {
    await this.#store.checked(this.#store.imageRecord(reference.digest)?.layers.map(({ diffId }) => diffId) ?? []);
    const known = this.#store.imageRecord(reference.digest);
    const source = { registry: reference.registry, digest: reference.digest };
    if (known && hasSource(known.sources, source)) {
      const unpin = this.#store.pin([reference.digest]);
      try {
        if (!(await client.hasManifest(reference, reference.digest, { signal })))
          throw new ImageError('imageNotFound', `${reference.registry}/${reference.repository} has no ${reference.digest}`);
        return await this.#image(reference.digest);
      } finally {
        unpin();
      }
    }
    const { manifest, config, configBytes } = await client.fetchImage(reference, { platform, signal });
    const layers = manifest.content.layers.map((blob, index): LayerToPull => ({ blob, diffId: config.diffIds[index] ?? '' }));
    const unpin = this.#store.pin([reference.digest, ...config.diffIds]);
    try {
      const distinct = [...new Map(layers.map((layer) => [`${layer.diffId} ${layer.blob.digest}`, layer])).values()];
      // The largest first: begun last, it would be waited for alone.
      distinct.sort((a, b) => b.blob.size - a.blob.size);
      await eachInParallel(distinct, this.#limits.parallelLayers, signal, (aborting) => {
        const pull = new Pull(reference, client, aborting, distinct.length, report);
        return (layer) => this.#ensureLayer(pull, layer);
      });
      const record: ImageRecord = {
        digest: reference.digest,
        manifestDigest: manifest.digest,
        config: configBytes.toString('utf8'),
        layers: layers.map(({ blob, diffId }) => ({ digest: blob.digest, diffId })),
        sources: [source],
      };
      await this.#store.addImage(record);
      return await this.#image(reference.digest);
    } finally {
      unpin();
    }
  }

  async #image(digest: string): Promise<PulledImage> {
    const image = this.#store.image(digest);
    if (!image) throw new Error(`image ${digest} vanished from the store`);
    await this.#store.markUsed(digest);
    return image;
  }

  async #ensureLayer(pull: Pull, layer: LayerToPull): Promise<void> {
    for (let failures = 0; ; ) {
      await this.#store.checked([layer.diffId]);
      const known = this.#store.layerRecord(layer.diffId);
      if (known) {
        await this.#prove(pull, layer, known);
        break;
      }
      const joining = this.#layers.has(layer.diffId);
      try {
        const { led } = await this.#layers.run(layer.diffId, { signal: pull.signal }, (signal) => this.#fetchLayer(pull, layer, signal));
        if (led) break;
      } catch (error) {
        pull.signal.throwIfAborted();
        if (!joining || ++failures >= JOINED_FAILURES_MAX) throw error;
      }
    }
    pull.layerDone();
  }

  async #fetchLayer(pull: Pull, { blob, diffId }: LayerToPull, signal: AbortSignal): Promise<LayerRecord> {
    const layer = { digest: blob.digest, diffId, compression: compressionOf(blob) };
    const { registry } = pull.reference;
    const partial = blob.size < RESUMED_BYTES_MIN ? undefined : await this.#store.partials.open({ registry, ...layer }, blob.size);
    const from = partial?.resumedBytes ?? 0;
    try {
      const record = await this.#store.addLayer(diffId, async (program, form, path) => {
        const chunks = pull.client.openBlob(pull.reference, blob, { signal, hashed: 'byConsumer', from });
        const made = await program.make(form, path, layer, this.#limits, pull.metered(chunks, blob.size - from), partial);
        return { ...made, sources: [{ registry, digest: blob.digest }] };
      });
      await partial?.close('remove');
      return record;
    } catch (error) {
      await partial?.close(signal.aborted || isTransient(error) ? 'keep' : 'remove');
      // A power cut may have spoilt what an earlier download left; without it, the registry alone is to blame.
      if (from > 0 && error instanceof ImageError && error.code === 'digestMismatch')
        return this.#fetchLayer(pull, { blob, diffId }, signal);
      throw error;
    }
  }

  /** Shows that the caller could have downloaded a layer that is here already. */
  async #prove(pull: Pull, { blob, diffId }: LayerToPull, known: LayerRecord): Promise<void> {
    const source = { registry: pull.reference.registry, digest: blob.digest };
    if (hasSource(known.sources, source)) {
      if (await pull.client.hasBlob(pull.reference, blob.digest, { signal: pull.signal })) return;
      throw new ImageError('imageNotFound', `${pull.reference.registry}/${pull.reference.repository} has no layer ${blob.digest}`);
    }
    const chunks = pull.metered(pull.client.openBlob(pull.reference, blob, { signal: pull.signal, hashed: 'byConsumer' }), blob.size);
    await this.#store.verify({ digest: blob.digest, diffId, compression: compressionOf(blob) }, known.archiveBytes, chunks);
    await this.#store.addLayerSource(diffId, source);
  }
}

function compressionOf({ mediaType }: Descriptor): LayerCompression {
  const compression = layerCompression(mediaType);
  if (compression === undefined) throw new ImageError('unsupportedMediaType', `layers of type ${mediaType} cannot be read here`);
  return compression;
}

/**
 * Runs the work that `begin` gives on all items, so many at a time. The first failure aborts the signal of the others and is thrown when all have
 * ended.
 */
async function eachInParallel<T>(
  items: readonly T[],
  width: number,
  signal: AbortSignal,
  begin: (aborting: AbortSignal) => (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const failing = new AbortController();
  let failure: { error: unknown } | undefined;
  const work = begin(AbortSignal.any([signal, failing.signal]));
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined && !failure; item = queue.shift()) {
      try {
        await work(item);
      } catch (error) {
        failure ??= { error };
        failing.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  if (failure) throw failure.error;
}

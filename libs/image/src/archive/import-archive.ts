import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { digestOf } from '@berth/core';
import { parseImageConfig } from '../image-config.js';
import { ImageError } from '../image-error.js';
import { type Descriptor, parseManifest } from '../registry/manifest.js';
import { isIndexType, isManifestType, MEDIA_TYPES } from '../registry/media-types.js';
import type { ImageReference, OperationOptions, RegistryClient } from '../registry/registry-client.js';
import { type ArchivedFile, blobName, ImageArchive } from './image-archive.js';

export interface ImportOptions extends OperationOptions {
  /** Which image of several: its tag, or its name with a tag, as the archive has it. */
  readonly name?: string | undefined;
  /** Called for each blob with its bytes: sent, or known to the registry already. */
  readonly onBlob?: ((bytes: number, wasSent: boolean) => void) | undefined;
}

const LAYOUT_TAG = 'org.opencontainers.image.ref.name';
const LAYOUT_NAME = 'io.containerd.image.name';
const INDEX_DEPTH_MAX = 2;

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const invalid = (what: string): never => {
  throw new ImageError('invalidManifest', what);
};

/**
 * Pushes an image from an archive: an OCI layout (as a tar file or a folder) or what `docker save` and `podman save` write. Blobs go from the file to the
 * registry as streams. Of a layout every byte is as it was, digests included; of a docker archive the layers are compressed, and each is compared with
 * the diff id that the configuration gives it. Returns the digest of what the reference names then. Throws `ImageError`.
 */
export async function importImage(
  path: string,
  client: RegistryClient,
  reference: ImageReference,
  options: ImportOptions = {},
): Promise<string> {
  const archive = await ImageArchive.open(path);
  try {
    // Docker writes both since version 25; the layout says more.
    const isLayout = (await archive.find('index.json')) !== null && (await archive.find('oci-layout')) !== null;
    const importer = new Importer(archive, client, reference, options);
    return await (isLayout ? importer.layout() : importer.dockerArchive());
  } finally {
    await archive.close();
  }
}

class Importer {
  constructor(
    private readonly archive: ImageArchive,
    private readonly client: RegistryClient,
    private readonly reference: ImageReference,
    private readonly options: ImportOptions,
  ) {}

  async layout(): Promise<string> {
    const index = await this.archive.readJson('index.json', this.client.limits.manifestBytesMax);
    const listed = isObject(index) && Array.isArray(index.manifests) ? (index.manifests as unknown[]).filter(isObject) : [];
    const names = ({ annotations }: JsonObject): string[] =>
      isObject(annotations) ? [annotations[LAYOUT_TAG], annotations[LAYOUT_NAME]].filter((name) => typeof name === 'string') : [];
    const chosen = this.choose(listed, names);
    const { mediaType, digest, size } = chosen;
    if (typeof mediaType !== 'string' || typeof digest !== 'string' || typeof size !== 'number') return invalid('index.json is malformed');
    return this.pushManifest({ mediaType, digest, size }, this.reference, 0);
  }

  /** A manifest with all that it names, depth first: a registry takes nothing that names what it does not hold. */
  private async pushManifest(descriptor: Descriptor, reference: ImageReference, depth: number): Promise<string> {
    const { mediaType, digest, size } = descriptor;
    const bytes = await this.archive.read(blobName(digest), this.client.limits.manifestBytesMax);
    if (digestOf(bytes) !== digest || bytes.length !== size)
      throw new ImageError('digestMismatch', `${digest} is not what the archive has`);
    const content = parseManifest(bytes, mediaType, this.client.limits);
    if (content.kind === 'index') {
      if (depth >= INDEX_DEPTH_MAX) return invalid('the index is nested too deeply');
      for (const entry of content.manifests) {
        if (!isIndexType(entry.mediaType) && !isManifestType(entry.mediaType))
          throw new ImageError('unsupportedMediaType', `the index names a ${entry.mediaType}`);
        await this.pushManifest(entry, { registry: reference.registry, repository: reference.repository, digest: entry.digest }, depth + 1);
      }
    } else {
      for (const blob of [content.config, ...content.layers]) await this.pushBlob(blob, await this.blobFile(blob));
    }
    return this.client.pushManifest(reference, content.mediaType, bytes, this.options);
  }

  async dockerArchive(): Promise<string> {
    const listed = await this.archive.readJson('manifest.json', this.client.limits.manifestBytesMax);
    if (!Array.isArray(listed)) return invalid('manifest.json of the archive is no list');
    const tags = ({ RepoTags }: JsonObject): string[] => (Array.isArray(RepoTags) ? RepoTags.filter((tag) => typeof tag === 'string') : []);
    const { Config, Layers } = this.choose(listed.filter(isObject), (image) =>
      tags(image).flatMap((tag) => [tag, tag.slice(tag.lastIndexOf(':') + 1)]),
    );
    if (typeof Config !== 'string' || !Array.isArray(Layers)) return invalid('manifest.json of the archive is malformed');
    const config = await this.archive.read(Config, this.client.limits.configBytesMax);
    const { diffIds } = parseImageConfig(config);
    if (diffIds.length !== Layers.length) return invalid(`the archive has ${Layers.length} layers, its configuration ${diffIds.length}`);
    if (diffIds.length > this.client.limits.layersMax) throw new ImageError('tooLarge', 'the image has too many layers');
    const layers: Descriptor[] = [];
    for (const [index, name] of Layers.entries()) {
      const file = typeof name === 'string' ? await this.archive.find(name) : null;
      if (file === null) return invalid(`the archive lacks layer ${index}`);
      layers.push(await this.pushLayer(file, diffIds[index] ?? ''));
    }
    const configBlob = { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf(config), size: config.length };
    const sent = await this.client.pushBlob(this.reference, configBlob, () => config, this.options);
    this.options.onBlob?.(config.length, sent);
    const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config: configBlob, layers }));
    return this.client.pushManifest(this.reference, MEDIA_TYPES.ociManifest, manifest, this.options);
  }

  /** Compresses a layer into a file, hashing both sides, and pushes that: a registry must be told the digest first. */
  private async pushLayer(file: ArchivedFile, diffId: string): Promise<Descriptor> {
    const { blobBytesMax } = this.client.limits;
    const isGzip = await beginsWith(file, Buffer.from([0x1f, 0x8b]));
    const folder = await mkdtemp(join(tmpdir(), 'berth-import-'));
    try {
      const path = join(folder, 'layer');
      const [plain, packed] = [new Hashing(blobBytesMax), new Hashing(blobBytesMax)];
      if (isGzip) {
        await pipeline(file.open(), packed, createWriteStream(path));
        await pipeline(createReadStream(path), createGunzip(), plain, drain).catch((error: Error) => {
          throw error instanceof ImageError
            ? error
            : new ImageError('layerRejected', `a layer of the archive is no gzip: ${error.message}`);
        });
      } else {
        await pipeline(file.open(), plain, createGzip(), packed, createWriteStream(path));
      }
      if (plain.digest !== diffId) throw new ImageError('digestMismatch', `the layer ${diffId} of the archive hashes to ${plain.digest}`);
      const blob = { mediaType: MEDIA_TYPES.ociLayerGzip, digest: packed.digest, size: packed.bytes };
      const sent = await this.client.pushBlob(this.reference, blob, () => createReadStream(path), this.options);
      this.options.onBlob?.(blob.size, sent);
      return blob;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async blobFile({ digest, size }: Descriptor): Promise<ArchivedFile> {
    const file = await this.archive.find(blobName(digest));
    if (file === null) return invalid(`the archive lacks ${digest}`);
    if (file.size !== size)
      throw new ImageError('digestMismatch', `${digest} has ${file.size} bytes in the archive, its manifest says ${size}`);
    return file;
  }

  /** The registry compares the digest before it keeps anything. */
  private async pushBlob(blob: Descriptor, file: ArchivedFile): Promise<void> {
    const sent = await this.client.pushBlob(this.reference, blob, () => file.open(), this.options);
    this.options.onBlob?.(blob.size, sent);
  }

  private choose(images: readonly JsonObject[], namesOf: (image: JsonObject) => readonly string[]): JsonObject {
    const { name } = this.options;
    const found = name === undefined ? images : images.filter((image) => namesOf(image).includes(name));
    const [first] = found;
    if (first !== undefined && found.length === 1) return first;
    const names =
      images
        .flatMap(namesOf)
        .slice(0, 20)
        .map((one) => JSON.stringify(one))
        .join(', ') || 'none';
    if (name !== undefined && first === undefined) return invalid(`the archive has no image ${name}; it names: ${names}`);
    return invalid(`the archive has ${images.length} images: say which one; it names: ${names}`);
  }
}

async function drain(chunks: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of chunks);
}

async function beginsWith(file: ArchivedFile, magic: Buffer): Promise<boolean> {
  for await (const chunk of file.open()) return (chunk as Buffer).subarray(0, magic.length).equals(magic);
  return false;
}

/** Passes bytes on, counting and hashing them; `tooLarge` beyond a bound, so that a bomb goes off in nobody's disk. */
class Hashing extends Transform {
  bytes = 0;
  readonly #hash = createHash('sha256');

  constructor(maxBytes: number) {
    super({
      transform: (chunk: Buffer, _, done) => {
        this.bytes += chunk.length;
        this.#hash.update(chunk);
        if (this.bytes > maxBytes) done(new ImageError('tooLarge', 'a layer of the archive is too large'));
        else done(null, chunk);
      },
    });
  }

  get digest(): string {
    return `sha256:${this.#hash.copy().digest('hex')}`;
  }
}

import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { digestOf } from '@berth/core';
import type { Platform } from '../platform.js';
import type { Descriptor } from '../registry/manifest.js';
import { MEDIA_TYPES } from '../registry/media-types.js';
import type { ImageReference, OperationOptions, RegistryClient } from '../registry/registry-client.js';

/** A layer's blob in a file. */
export interface WrittenLayer {
  readonly diffId: string;
  readonly digest: string;
  /** Bytes of the compressed blob. */
  readonly size: number;
}

export interface Commit extends OperationOptions {
  /** The image that the container ran, by digest, and who may pull it. */
  readonly base: ImageReference;
  readonly source: RegistryClient;
  /** What the new image is called, and who may push it. */
  readonly name: ImageReference;
  readonly target: RegistryClient;
  readonly platform: Platform;
  readonly layer: WrittenLayer;
  /** The file with the layer's blob. */
  readonly file: string;
  /** RFC 3339, of the image's own history. */
  readonly createdAt: string;
}

type Json = Record<string, unknown>;

/** Compresses an archive into a file; the same bytes become the same blob. Resolves when it has been written. */
export async function compressInto(file: string, archive: Readable): Promise<Omit<WrittenLayer, 'diffId'>> {
  const hash = createHash('sha256');
  let size = 0;
  const count = new Transform({
    transform(chunk: Buffer, _, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  await pipeline(archive, createGzip(), count, createWriteStream(file, { flags: 'wx', mode: 0o600 }));
  return { digest: `sha256:${hash.digest('hex')}`, size };
}

/**
 * Pushes the image that is `base` with one more layer. Blobs of the base that the new repository lacks come from the base's own, verified on the way. Returns the new
 * manifest's digest; a container's changes that are equal, committed at the same time, give the same. Throws `ImageError`.
 */
export async function commitImage(commit: Commit): Promise<string> {
  const { base, source, name, target, platform, layer, file, signal } = commit;
  const { manifest, configBytes } = await source.fetchImage(base, { platform, signal });
  for (const blob of distinct(manifest.content.layers))
    await target.pushBlob(name, blob, () => Readable.from(source.openBlob(base, blob, { signal })), { signal });
  await target.pushBlob(name, layer, () => createReadStream(file), { signal });
  const config = Buffer.from(JSON.stringify(extended(JSON.parse(configBytes.toString('utf8')) as Json, layer.diffId, commit.createdAt)));
  await target.pushBlob(name, { digest: digestOf(config), size: config.length }, () => config, { signal });
  const isDocker = manifest.mediaType === MEDIA_TYPES.dockerManifest;
  const described = {
    schemaVersion: 2,
    mediaType: manifest.mediaType,
    config: { mediaType: manifest.content.config.mediaType, digest: digestOf(config), size: config.length },
    layers: [
      ...manifest.content.layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
      { mediaType: isDocker ? MEDIA_TYPES.dockerLayerGzip : MEDIA_TYPES.ociLayerGzip, digest: layer.digest, size: layer.size },
    ],
  };
  return target.pushManifest(name, manifest.mediaType, Buffer.from(JSON.stringify(described)), { signal });
}

/** The configuration with one more layer and its history; all else as it was. */
function extended(config: Json, diffId: string, createdAt: string): Json {
  const rootfs = config.rootfs as { readonly diff_ids: readonly string[] };
  const history = Array.isArray(config.history) ? (config.history as Json[]) : [];
  return {
    ...config,
    created: createdAt,
    rootfs: { ...rootfs, diff_ids: [...rootfs.diff_ids, diffId] },
    // An image without a history says nothing of its lower layers; half of one would be wrong.
    ...(history.length > 0 ? { history: [...history, { created: createdAt, created_by: 'berth commit' }] } : {}),
  };
}

function distinct(layers: readonly Descriptor[]): Descriptor[] {
  return [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
}

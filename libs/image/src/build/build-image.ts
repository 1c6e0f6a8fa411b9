import { digestOf } from '@berth/core';
import type { Platform } from '../platform.js';
import { MEDIA_TYPES } from '../registry/media-types.js';
import type { ImageReference, OperationOptions, RegistryClient } from '../registry/registry-client.js';
import type { BuiltLayer } from './build-layer.js';

/** The part of an OCI image configuration that a builder chooses; names as in the specification. */
export interface BuildConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly StopSignal?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
}

/** An image ready to be pushed: documents as exact bytes, since their digests name them. */
export interface BuiltImage {
  readonly manifest: Buffer;
  readonly manifestDigest: string;
  readonly mediaType: string;
  readonly config: Buffer;
  readonly configDigest: string;
  /** Lowest first. */
  readonly layers: readonly BuiltLayer[];
}

export interface PushResult {
  /** Digest of the manifest. */
  readonly digest: string;
  /** Bytes of the blobs that the registry did not have. */
  readonly uploadedBytes: number;
}

/** Makes an OCI image of layers, lowest first. Deterministic. */
export function buildImage(options: { layers: readonly BuiltLayer[]; config: BuildConfig; platform: Platform }): BuiltImage {
  const { layers, platform } = options;
  const [os, architecture] = platform.split('/');
  const config = Buffer.from(
    JSON.stringify({
      created: '1970-01-01T00:00:00Z',
      architecture,
      os,
      config: options.config,
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  );
  const configDigest = digestOf(config);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: { mediaType: MEDIA_TYPES.ociConfig, digest: configDigest, size: config.length },
      layers: layers.map(({ digest, size }) => ({ mediaType: MEDIA_TYPES.ociLayerGzip, digest, size })),
    }),
  );
  return { manifest, manifestDigest: digestOf(manifest), mediaType: MEDIA_TYPES.ociManifest, config, configDigest, layers };
}

/** Pushes an image: the blobs that the repository lacks, each once, then the manifest under the reference's tag (or by digest alone). */
export async function pushImage(
  client: RegistryClient,
  reference: ImageReference,
  image: BuiltImage,
  options: OperationOptions = {},
): Promise<PushResult> {
  const blobs = new Map(image.layers.map((layer) => [layer.digest, layer.blob]));
  blobs.set(image.configDigest, image.config);
  let uploadedBytes = 0;
  for (const [digest, bytes] of blobs)
    if (await client.pushBlob(reference, { digest, size: bytes.length }, () => bytes, options)) uploadedBytes += bytes.length;
  const digest = await client.pushManifest(reference, image.mediaType, image.manifest, options);
  return { digest, uploadedBytes };
}

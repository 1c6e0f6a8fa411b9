import { isValidDigest } from '@berth/core';
import { ImageError } from '../image-error.js';
import type { Platform } from '../platform.js';
import { isConfigType, isIndexType, isManifestType, layerCompression } from './media-types.js';
import type { RegistryLimits } from './registry-limits.js';

/** What a manifest says of a blob or of another manifest (OCI image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
}

export interface IndexEntry extends Descriptor {
  readonly platform: { readonly os: string; readonly architecture: string; readonly variant: string } | undefined;
}

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly IndexEntry[];
}

const INDEX_ENTRIES_MAX = 1000;

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const invalid = (what: string): never => {
  throw new ImageError('invalidManifest', what);
};

function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isObject(value)) return invalid(`${what} is not a descriptor`);
  const { mediaType, digest, size } = value;
  if (typeof mediaType !== 'string' || mediaType === '') return invalid(`${what} has no media type`);
  if (typeof digest !== 'string' || !isValidDigest(digest)) return invalid(`${what} has a malformed digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return invalid(`${what} has a malformed size`);
  return { mediaType, digest, size };
}

function parseIndexEntry(value: unknown): IndexEntry {
  const descriptor = parseDescriptor(value, 'an entry of the index');
  const platform = (value as JsonObject).platform ?? undefined;
  if (platform === undefined) return { ...descriptor, platform: undefined };
  if (!isObject(platform)) return invalid('a platform of the index is not an object');
  const text = (name: string): string => {
    const field = platform[name] ?? '';
    return typeof field === 'string' ? field : invalid(`platform.${name} of the index is not a text`);
  };
  return { ...descriptor, platform: { os: text('os'), architecture: text('architecture'), variant: text('variant') } };
}

/**
 * Reads a manifest or an index. `contentType` is what the registry declared; it, the `mediaType` within and the shape must agree, since software
 * that believes different ones of them would see different images under one digest (CVE-2021-41190).
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined, limits: RegistryLimits): ImageManifest | ImageIndex {
  let root: unknown;
  try {
    root = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ImageError('invalidManifest', 'the manifest is not JSON', { cause });
  }
  if (!isObject(root)) return invalid('the manifest is not an object');
  const declared = contentType?.split(';', 1)[0]?.trim().toLowerCase();
  const inner = root.mediaType;
  if (inner !== undefined && typeof inner !== 'string') return invalid('the manifest has a malformed mediaType');
  if (root.schemaVersion === 1)
    throw new ImageError('unsupportedMediaType', 'the image is in Docker’s schema 1, which has no digests of its layers');
  if (root.schemaVersion !== 2) return invalid('the manifest has no schemaVersion 2');
  // Storage behind a registry may serve manifests under a type that says nothing; then the manifest must name itself.
  const generic = declared === undefined || declared === 'application/json' || declared === 'application/octet-stream';
  if (!generic && inner !== undefined && inner !== declared)
    return invalid(`the manifest calls itself ${inner}, the registry calls it ${declared}`);
  const mediaType = inner ?? (generic ? undefined : declared);
  if (mediaType === undefined) return invalid('neither the manifest nor the registry names its media type');
  if ('manifests' in root && ('layers' in root || 'config' in root)) return invalid('the manifest is an index and an image at once');
  if (isIndexType(mediaType)) return parseIndex(root, mediaType);
  if (isManifestType(mediaType)) return parseImage(root, mediaType, limits);
  throw new ImageError('unsupportedMediaType', `${mediaType} is not an image`);
}

function parseIndex(root: JsonObject, mediaType: string): ImageIndex {
  const { manifests } = root;
  if (!Array.isArray(manifests)) return invalid('the index lists no manifests');
  if (manifests.length > INDEX_ENTRIES_MAX) throw new ImageError('tooLarge', `the index lists more than ${INDEX_ENTRIES_MAX} manifests`);
  return { kind: 'index', mediaType, manifests: manifests.map(parseIndexEntry) };
}

function parseImage(root: JsonObject, mediaType: string, limits: RegistryLimits): ImageManifest {
  const config = parseDescriptor(root.config, 'the configuration');
  if (!isConfigType(config.mediaType)) throw new ImageError('unsupportedMediaType', `${config.mediaType} is no image configuration`);
  if (config.size > limits.configBytesMax) throw new ImageError('tooLarge', `the configuration has ${config.size} bytes`);
  if (!Array.isArray(root.layers)) return invalid('the manifest lists no layers');
  if (root.layers.length > limits.layersMax) throw new ImageError('tooLarge', `the image has more than ${limits.layersMax} layers`);
  const layers = root.layers.map((layer, index) => parseDescriptor(layer, `layer ${index}`));
  for (const layer of layers) {
    if (layerCompression(layer.mediaType) === undefined)
      throw new ImageError('unsupportedMediaType', `${layer.mediaType} is no layer that Berth reads`);
    if (layer.size > limits.blobBytesMax) throw new ImageError('tooLarge', `a layer has ${layer.size} bytes`);
  }
  return { kind: 'manifest', mediaType, config, layers };
}

/**
 * The entries of an index that may hold the image for a platform, best first: exact matches in the index's order (of arm64 the variants v8 and none; of
 * amd64 the plain one, never one that wants newer processors), then the entries that name no platform, nested indexes among them.
 */
export function chooseForPlatform(index: ImageIndex, platform: Platform): readonly IndexEntry[] {
  const [os, architecture] = platform.split('/');
  const variants = architecture === 'arm64' ? ['', 'v8'] : ['', 'v1'];
  const exact = index.manifests.filter(
    ({ platform: offered }) => offered?.os === os && offered?.architecture === architecture && variants.includes(offered?.variant ?? ''),
  );
  const unnamed = index.manifests.filter(
    (entry) => entry.platform === undefined && (isIndexType(entry.mediaType) || isManifestType(entry.mediaType)),
  );
  return [...exact, ...unnamed];
}

/** The platforms that an index offers, for an error's text; entries for no platform at all (attestations) are left out. */
export function offeredPlatforms(index: ImageIndex): string {
  const names = index.manifests.flatMap(({ platform }) =>
    platform && platform.os !== 'unknown' ? [[platform.os, platform.architecture, platform.variant].filter(Boolean).join('/')] : [],
  );
  return [...new Set(names)].slice(0, 20).join(', ') || 'none';
}

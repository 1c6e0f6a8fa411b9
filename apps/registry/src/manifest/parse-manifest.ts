import { type Digest, isValidDigest } from '@berth/core';
import { hasAmbiguousMembers } from './ambiguous-json.js';

/** Bytes that a manifest names (OCI image-spec, "Content Descriptors"). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** What the registry needs to know of a manifest. */
export interface Manifest {
  readonly mediaType: ManifestMediaType;
  /** Config and layers of an image; empty for an index. */
  readonly blobs: readonly Descriptor[];
  /** The manifests of an index; empty for an image. */
  readonly manifests: readonly Descriptor[];
  /** The manifest that this one is about; need not exist. */
  readonly subject: Descriptor | null;
  /** As the referrers API reports it: an image without one answers its config's media type. */
  readonly artifactType: string | null;
  readonly annotations: Readonly<Record<string, string>> | null;
}

const kinds = {
  'application/vnd.oci.image.manifest.v1+json': 'image',
  'application/vnd.oci.image.index.v1+json': 'index',
  'application/vnd.docker.distribution.manifest.v2+json': 'image',
  'application/vnd.docker.distribution.manifest.list.v2+json': 'index',
} as const;
export type ManifestMediaType = keyof typeof kinds;

const maxDepth = 32;
// The referrers API repeats them for every referrer of a subject.
const maxAnnotationsLength = 64 * 1024;
const mediaTypeGrammar = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

/**
 * Reads and checks a manifest as it was pushed. `contentType` is the request's header, parameters and all; the manifest's own `mediaType`
 * must agree with it. Refused besides: schema 1, bytes that are not UTF-8 JSON, members that other parsers would read otherwise, and an
 * image that is an index at the same time (CVE-2021-41190). Throws a RangeError that says what is wrong.
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  const document = parseDocument(bytes);
  const mediaType = mediaTypeOf(document, contentType);
  const base = {
    mediaType,
    subject: document.subject === undefined ? null : descriptor(document.subject, 'subject'),
    annotations: annotationsOf(document.annotations),
  };
  const artifactType = document.artifactType === undefined ? null : mediaTypeText(document.artifactType, 'artifactType');

  if (kinds[mediaType] === 'index') {
    refuseMembers(document, ['config', 'layers', 'fsLayers'], 'an index');
    return { ...base, blobs: [], manifests: descriptors(document.manifests, 'manifests'), artifactType };
  }
  refuseMembers(document, ['manifests', 'fsLayers'], 'an image manifest');
  const config = descriptor(document.config, 'config');
  const layers = descriptors(document.layers, 'layers');
  return { ...base, blobs: [config, ...layers], manifests: [], artifactType: artifactType ?? config.mediaType };
}

type Json = Readonly<Record<string, unknown>>;

function parseDocument(bytes: Uint8Array): Json {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw new RangeError('the manifest is not JSON in UTF-8');
  }
  if (!isObject(value)) throw new RangeError('the manifest is not a JSON object');
  if (depthOf(value, maxDepth) > maxDepth) throw new RangeError(`the manifest is nested deeper than ${maxDepth} levels`);
  if (hasAmbiguousMembers(text)) throw new RangeError('the manifest has two members of one name');
  if (value.schemaVersion !== 2) throw new RangeError('schemaVersion must be 2');
  return value;
}

function mediaTypeOf(document: Json, contentType: string | undefined): ManifestMediaType {
  const own = document.mediaType;
  if (own !== undefined && typeof own !== 'string') throw new RangeError('mediaType must be a string');
  const sent = contentType?.split(';', 1)[0]?.trim().toLowerCase();
  if (own !== undefined && sent !== undefined && own !== sent)
    throw new RangeError(`the content type ${sent} differs from the manifest's mediaType ${own}`);
  const mediaType = sent ?? own;
  if (mediaType === undefined) throw new RangeError('neither a content type nor a mediaType says what the manifest is');
  if (!Object.hasOwn(kinds, mediaType)) throw new RangeError(`${mediaType} is not a manifest type that this registry takes`);
  if (own === undefined && mediaType.startsWith('application/vnd.docker.')) throw new RangeError('a Docker manifest must have a mediaType');
  return mediaType as ManifestMediaType;
}

function refuseMembers(document: Json, names: readonly string[], what: string): void {
  for (const name of names) if (Object.hasOwn(document, name)) throw new RangeError(`${what} must not have ${name}`);
}

function descriptors(value: unknown, field: string): Descriptor[] {
  if (!Array.isArray(value)) throw new RangeError(`${field} must be an array`);
  return value.map((item, index) => descriptor(item, `${field}[${index}]`));
}

function descriptor(value: unknown, field: string): Descriptor {
  if (!isObject(value)) throw new RangeError(`${field} must be a descriptor`);
  const { digest, size } = value;
  if (typeof digest !== 'string' || !isValidDigest(digest))
    throw new RangeError(`${field}.digest must be sha256: and 64 lower-case hexadecimal digits`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw new RangeError(`${field}.size must be a whole number of bytes`);
  return { mediaType: mediaTypeText(value.mediaType, `${field}.mediaType`), digest, sizeBytes: size };
}

function mediaTypeText(value: unknown, field: string): string {
  if (typeof value !== 'string' || !mediaTypeGrammar.test(value)) throw new RangeError(`${field} must be a media type (RFC 6838)`);
  return value;
}

function annotationsOf(value: unknown): Record<string, string> | null {
  if (value === undefined || value === null) return null;
  if (!isObject(value) || !Object.values(value).every((text) => typeof text === 'string'))
    throw new RangeError('annotations must map strings to strings');
  if (JSON.stringify(value).length > maxAnnotationsLength)
    throw new RangeError(`the annotations of a manifest must have at most ${maxAnnotationsLength} characters in all`);
  return value as Record<string, string>;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Levels of nesting, counted no further than one beyond `limit`. */
function depthOf(value: unknown, limit: number): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (limit === 0) return 1;
  let deepest = 0;
  for (const member of Object.values(value)) deepest = Math.max(deepest, depthOf(member, limit - 1));
  return deepest + 1;
}

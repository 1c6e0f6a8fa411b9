import { type Digest, isValidDigest } from '@berth/core';
import { RegistryError } from '../errors.js';
import { isValidRepositoryName, type ManifestReference, parseManifestReference, type RepositoryName } from '../names.js';

/** What a path under /v2/ names (OCI distribution-spec 1.1, "Endpoints"). */
export type Route =
  | { readonly kind: 'base' }
  | { readonly kind: 'catalog' }
  /** Berth's extension, under a name that the specification keeps for such. */
  | { readonly kind: 'images' }
  | { readonly kind: 'blob'; readonly repository: RepositoryName; readonly digest: Digest }
  | { readonly kind: 'uploads'; readonly repository: RepositoryName }
  | { readonly kind: 'upload'; readonly repository: RepositoryName; readonly id: string }
  | { readonly kind: 'manifest'; readonly repository: RepositoryName; readonly reference: ManifestReference }
  | { readonly kind: 'tags'; readonly repository: RepositoryName }
  | { readonly kind: 'referrers'; readonly repository: RepositoryName; readonly digest: Digest };
export type RouteKind = Route['kind'];

/** A path whose shape is known, but whose digest or reference has not been looked at yet. */
export interface Shape {
  readonly kind: RouteKind;
  /** null where the path names none. */
  readonly repository: RepositoryName | null;
  readonly rest: string;
}

/**
 * Reads a request's path. Repository names have slashes and may contain any of the fixed words, so the path is read from its end, where the
 * words are unambiguous. Throws NAME_INVALID, or UNSUPPORTED with 404 for a path of no known shape.
 */
export function parseShape(path: string): Shape {
  const segments = decodeSegments(path);
  if (segments[0] !== '' || segments[1] !== 'v2') throw unknownPath();
  const words = segments.slice(2);
  if (words.length === 0 || (words.length === 1 && words[0] === '')) return { kind: 'base', repository: null, rest: '' };
  if (words.length === 1 && words[0] === '_catalog') return { kind: 'catalog', repository: null, rest: '' };

  if (words.length === 2 && words[0] === '_berth' && words[1] === 'images') return { kind: 'images', repository: null, rest: '' };

  const [third = '', second = '', last = ''] = words.slice(-3);
  if (third === 'blobs' && second === 'uploads')
    return { kind: last === '' ? 'uploads' : 'upload', repository: repositoryOf(words, 3), rest: last };
  // Docker's first clients left the slash away, and some proxies do.
  if (second === 'blobs' && last === 'uploads') return { kind: 'uploads', repository: repositoryOf(words, 2), rest: '' };
  if (second === 'blobs') return { kind: 'blob', repository: repositoryOf(words, 2), rest: last };
  if (second === 'manifests') return { kind: 'manifest', repository: repositoryOf(words, 2), rest: last };
  if (second === 'tags' && last === 'list') return { kind: 'tags', repository: repositoryOf(words, 2), rest: '' };
  if (second === 'referrers') return { kind: 'referrers', repository: repositoryOf(words, 2), rest: last };
  throw unknownPath();
}

/** The second half, once the caller is known to have a say in the repository: throws DIGEST_INVALID or TAG_INVALID. */
export function parseRoute(shape: Shape): Route {
  const { kind, repository, rest } = shape;
  if (kind === 'base' || kind === 'catalog' || kind === 'images') return { kind };
  if (repository === null) throw unknownPath();
  switch (kind) {
    case 'uploads':
    case 'tags':
      return { kind, repository };
    case 'upload':
      return { kind, repository, id: rest };
    case 'blob':
    case 'referrers':
      return { kind, repository, digest: parseDigestText(rest) };
    case 'manifest': {
      const reference = parseManifestReference(rest);
      if (reference === null)
        throw rest.includes(':') ? digestInvalid() : new RegistryError('TAG_INVALID', 'this is neither a tag nor a digest');
      return { kind, repository, reference };
    }
  }
}

/** Throws DIGEST_INVALID unless `text` is a sha256 digest. */
export function parseDigestText(text: string): Digest {
  if (!isValidDigest(text)) throw digestInvalid();
  return text;
}

function repositoryOf(words: readonly string[], fixed: number): RepositoryName {
  const name = words.slice(0, -fixed).join('/');
  if (!isValidRepositoryName(name))
    throw new RegistryError(
      'NAME_INVALID',
      'a repository is TENANT/NAME in lower-case letters and digits, parted by ".", "_", "__" or "-"',
    );
  return name;
}

function decodeSegments(path: string): string[] {
  return path.split('/').map((segment) => {
    let decoded: string;
    try {
      decoded = decodeURIComponent(segment);
    } catch {
      throw unknownPath();
    }
    // A slash that was hidden in an escape is no separator; no grammar admits one within a segment.
    if (decoded.includes('/')) throw unknownPath();
    return decoded;
  });
}

function digestInvalid(): RegistryError {
  return new RegistryError('DIGEST_INVALID', 'a digest must be sha256: and 64 lower-case hexadecimal digits');
}

function unknownPath(): RegistryError {
  return new RegistryError('UNSUPPORTED', 'there is no such endpoint', { status: 404 });
}

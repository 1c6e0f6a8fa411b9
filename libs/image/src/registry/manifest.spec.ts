import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../image-error.js';
import { chooseForPlatform, parseManifest } from './manifest.js';
import { MEDIA_TYPES } from './media-types.js';
import { DEFAULT_REGISTRY_LIMITS as limits } from './registry-limits.js';

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
const config = { mediaType: MEDIA_TYPES.ociConfig, digest: digest('a'), size: 10 };
const layer = { mediaType: MEDIA_TYPES.ociLayerGzip, digest: digest('b'), size: 20 };
const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers: [layer] };

const parse = (document: unknown, contentType: string | undefined = MEDIA_TYPES.ociManifest) =>
  parseManifest(Buffer.from(typeof document === 'string' ? document : JSON.stringify(document)), contentType, limits);

const codeOf = (document: unknown, contentType?: string): string => {
  try {
    parse(document, contentType);
    return 'no error';
  } catch (error) {
    return (error as ImageError).code;
  }
};

describe('a manifest', () => {
  it('is read in OCI’s and in Docker’s form', () => {
    expect(parse(manifest)).toMatchObject({ kind: 'manifest', config, layers: [layer] });
    const docker = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.dockerManifest,
      config: { ...config, mediaType: MEDIA_TYPES.dockerConfig },
      layers: [{ ...layer, mediaType: MEDIA_TYPES.dockerLayerGzip }],
    };
    expect(parse(docker, MEDIA_TYPES.dockerManifest)).toMatchObject({ kind: 'manifest', mediaType: MEDIA_TYPES.dockerManifest });
  });

  it('may leave its media type to the header, or the header to it, but not both', () => {
    const { mediaType: _, ...untyped } = manifest;
    expect(parse(untyped).mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(parse(untyped, `${MEDIA_TYPES.ociManifest}; charset=utf-8`).mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(parse(manifest, 'application/octet-stream').mediaType).toBe(MEDIA_TYPES.ociManifest);
    expect(codeOf(untyped, 'application/json')).toBe('invalidManifest');
  });

  it('is refused when header and body disagree about what it is', () => {
    expect(codeOf(manifest, MEDIA_TYPES.dockerManifest)).toBe('invalidManifest');
    expect(codeOf(manifest, MEDIA_TYPES.ociIndex)).toBe('invalidManifest');
  });

  it('is refused when it is an index and an image at once', () => {
    expect(codeOf({ ...manifest, manifests: [] })).toBe('invalidManifest');
    expect(codeOf({ ...manifest, mediaType: MEDIA_TYPES.ociIndex, manifests: [] }, MEDIA_TYPES.ociIndex)).toBe('invalidManifest');
    expect(codeOf({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, manifests: [] })).toBe('invalidManifest');
  });

  it.each([
    ['no JSON', '{', 'invalidManifest'],
    ['no object', '[]', 'invalidManifest'],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]).toString('latin1'), 'invalidManifest'],
    ['schema 1', { schemaVersion: 1, fsLayers: [] }, 'unsupportedMediaType'],
    ['no schema', { ...manifest, schemaVersion: undefined }, 'invalidManifest'],
    ['an artifact', { ...manifest, config: { ...config, mediaType: 'application/vnd.oci.empty.v1+json' } }, 'unsupportedMediaType'],
    ['an encrypted layer', { ...manifest, layers: [{ ...layer, mediaType: `${layer.mediaType}+encrypted` }] }, 'unsupportedMediaType'],
    [
      'a foreign layer',
      { ...manifest, layers: [{ ...layer, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', urls: ['http://x/'] }] },
      'unsupportedMediaType',
    ],
    ['a malformed digest', { ...manifest, layers: [{ ...layer, digest: 'sha256:../../etc' }] }, 'invalidManifest'],
    ['an upper-case digest', { ...manifest, layers: [{ ...layer, digest: digest('A') }] }, 'invalidManifest'],
    ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }, 'invalidManifest'],
    ['a size that is no integer', { ...manifest, layers: [{ ...layer, size: 1.5 }] }, 'invalidManifest'],
    ['a giant layer', { ...manifest, layers: [{ ...layer, size: 2 ** 50 }] }, 'tooLarge'],
    ['a giant configuration', { ...manifest, config: { ...config, size: 2 ** 30 } }, 'tooLarge'],
    ['thousands of layers', { ...manifest, layers: Array.from({ length: 5000 }, () => layer) }, 'tooLarge'],
  ])('is refused with %s', (_what, document, code) => expect(codeOf(document)).toBe(code));

  it('of any shape at all is read or refused with an ImageError', () => {
    const piece = fc.jsonValue();
    fc.assert(
      fc.property(
        fc.record(
          { schemaVersion: fc.constantFrom(1, 2, '2'), mediaType: piece, config: piece, layers: piece, manifests: piece },
          { requiredKeys: [] },
        ),
        fc.option(fc.constantFrom(...Object.values(MEDIA_TYPES)), { nil: undefined }),
        (document, type) => {
          try {
            parse(document, type);
          } catch (error) {
            expect(error).toBeInstanceOf(ImageError);
          }
        },
      ),
    );
  });
});

describe('the choice for a platform', () => {
  const entry = (digit: string, platform?: object) => ({ mediaType: MEDIA_TYPES.ociManifest, digest: digest(digit), size: 1, platform });
  const choose = (platform: 'linux/amd64' | 'linux/arm64', manifests: object[]) => {
    const index = parse({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }, MEDIA_TYPES.ociIndex);
    if (index.kind !== 'index') throw new Error('not an index');
    return chooseForPlatform(index, platform).map((chosen) => chosen.digest[7]);
  };
  const linux = (architecture: string, variant?: string) => ({ os: 'linux', architecture, variant });

  it('takes the exact architecture, in the index’s order', () => {
    expect(choose('linux/amd64', [entry('1', linux('arm64')), entry('2', linux('amd64')), entry('3', linux('amd64'))])).toEqual(['2', '3']);
  });

  it('takes arm64 with and without v8, and never what wants newer processors', () => {
    expect(
      choose('linux/arm64', [entry('1', linux('arm', 'v7')), entry('2', linux('arm64', 'v8')), entry('3', linux('arm64', 'v9'))]),
    ).toEqual(['2']);
    expect(choose('linux/amd64', [entry('1', linux('amd64', 'v3')), entry('2', linux('amd64'))])).toEqual(['2']);
  });

  it('leaves out attestations and other systems, and tries unnamed entries last', () => {
    const unknown = entry('1', { os: 'unknown', architecture: 'unknown' });
    const windows = entry('2', { os: 'windows', architecture: 'amd64' });
    expect(choose('linux/amd64', [unknown, windows, entry('3'), entry('4', linux('amd64'))])).toEqual(['4', '3']);
  });
});

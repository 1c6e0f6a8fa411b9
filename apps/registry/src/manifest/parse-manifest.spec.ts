import { describe, expect, it } from 'vitest';
import { parseManifest } from './parse-manifest.js';

const oci = 'application/vnd.oci.image.manifest.v1+json';
const index = 'application/vnd.oci.image.index.v1+json';
const docker = 'application/vnd.docker.distribution.manifest.v2+json';
const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digest('a'), size: 2 };
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: digest('b'), size: 3 };
const image = { schemaVersion: 2, mediaType: oci, config, layers: [layer] };
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

describe('a pushed manifest', () => {
  it('names its config and layers', () => {
    const manifest = parseManifest(bytes(image), `${oci}; charset=utf-8`);
    expect(manifest.blobs.map((blob) => blob.digest)).toEqual([digest('a'), digest('b')]);
    expect(manifest).toMatchObject({ mediaType: oci, manifests: [], subject: null, artifactType: config.mediaType });
  });

  it('of an index names manifests, and has an artifact type only of its own', () => {
    const child = { mediaType: oci, digest: digest('c'), size: 9, platform: { architecture: 'amd64', os: 'linux' } };
    const manifest = parseManifest(bytes({ schemaVersion: 2, manifests: [child] }), index);
    expect(manifest).toMatchObject({ mediaType: index, blobs: [], artifactType: null });
    expect(manifest.manifests).toEqual([{ mediaType: oci, digest: digest('c'), sizeBytes: 9 }]);
  });

  it('may have a subject, annotations and no layers', () => {
    const subject = { mediaType: oci, digest: digest('d'), size: 1 };
    const manifest = parseManifest(
      bytes({ ...image, layers: [], subject, artifactType: 'application/x.sbom', annotations: { a: 'b' } }),
      oci,
    );
    expect(manifest).toMatchObject({ artifactType: 'application/x.sbom', annotations: { a: 'b' } });
    expect(manifest.subject?.digest).toBe(digest('d'));
  });

  it('takes its type from the content type or from itself', () => {
    expect(parseManifest(bytes({ schemaVersion: 2, config, layers: [] }), oci).mediaType).toBe(oci);
    expect(parseManifest(bytes(image), undefined).mediaType).toBe(oci);
  });

  it.each([
    ['a content type that differs', image, docker],
    ['no type at all', { schemaVersion: 2, config, layers: [] }, undefined],
    ['a type that is none of a manifest', { ...image, mediaType: 'application/json' }, 'application/json'],
    ['a type from Object.prototype', { ...image, mediaType: 'constructor' }, 'constructor'],
    ['Docker without mediaType', { schemaVersion: 2, config, layers: [] }, docker],
    ['schema 1', { ...image, schemaVersion: 1 }, oci],
    ['an image that is an index too', { ...image, manifests: [] }, oci],
    ['an index with layers', { schemaVersion: 2, manifests: [], layers: [] }, index],
    ['an index with a config', { schemaVersion: 2, manifests: [], config }, index],
    ['no config', { ...image, config: undefined }, oci],
    ['no layers', { ...image, layers: undefined }, oci],
    ['a digest of another algorithm', { ...image, layers: [{ ...layer, digest: `sha512:${'0'.repeat(128)}` }] }, oci],
    ['a digest with a path', { ...image, layers: [{ ...layer, digest: 'sha256:../../x' }] }, oci],
    ['a negative size', { ...image, layers: [{ ...layer, size: -1 }] }, oci],
    ['a fractional size', { ...image, layers: [{ ...layer, size: 1.5 }] }, oci],
    ['a descriptor without type', { ...image, layers: [{ digest: layer.digest, size: 3 }] }, oci],
    ['a subject that is no descriptor', { ...image, subject: 'x' }, oci],
    ['annotations that are not strings', { ...image, annotations: { a: 1 } }, oci],
    ['huge annotations', { ...image, annotations: { a: 'x'.repeat(70_000) } }, oci],
    ['an array', [], oci],
  ])('is refused with %s', (_what, value, contentType) => {
    expect(() => parseManifest(bytes(value), contentType)).toThrow(RangeError);
  });

  it('is refused when parsers would read it differently, or not at all', () => {
    const text = JSON.stringify(image);
    for (const bad of [
      text.replace('"layers"', '"Layers":[],"layers"'),
      `${text}x`,
      '',
      `{"schemaVersion":2,"x":${'['.repeat(50)}${']'.repeat(50)}}`,
      '['.repeat(1_000_000),
      `\uFEFF${text}`,
    ]) {
      expect(() => parseManifest(Buffer.from(bad), oci)).toThrow(RangeError);
    }
    expect(() => parseManifest(Buffer.from([0x7b, 0xff, 0x7d]), oci)).toThrow(RangeError);
  });
});

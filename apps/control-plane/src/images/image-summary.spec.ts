import { type Digest, digestOf } from '@berth/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CatalogImage } from './image-catalog.js';
import { summarizeImages, topLevel } from './image-summary.js';

const hex = (name: string): Digest => digestOf(name);
const sizes: Readonly<Record<string, number>> = { base: 120, node: 100, a: 10, b: 10, c: 10 };

function manifest(name: string, layers: readonly string[], more: Partial<CatalogImage> = {}): CatalogImage {
  const blobs = [
    { digest: hex(`config of ${name}`), sizeBytes: 1 },
    ...layers.map((layer) => ({ digest: hex(`layer ${layer}`), sizeBytes: sizes[layer] ?? 7 })),
  ];
  const defaults = {
    repository: `acme/${name}`,
    mediaType: 'manifest',
    tags: ['v1'],
    sizeBytes: 2,
    pushedAtMs: 1000,
    manifests: [],
    subject: null,
  };
  return { digest: hex(name), ...defaults, blobs, ...more };
}
const founding = ['a', 'b', 'c'].map((app) => manifest(app, ['base', 'node', app]));

describe("a tenant's images", () => {
  it('add up as in the founding picture: three apps on one base', () => {
    const { items, usage } = summarizeImages(founding, new Map([[hex('a'), 2]]));
    expect(
      items.map(({ repository, sizeBytes, uniqueBytes, layers, activeRuns }) => [repository, sizeBytes, uniqueBytes, layers, activeRuns]),
    ).toEqual([
      ['registry.berth/acme/a', 233, 13, 3, 2],
      ['registry.berth/acme/b', 233, 13, 3, 0],
      ['registry.berth/acme/c', 233, 13, 3, 0],
    ]);
    expect(usage).toEqual({
      images: 3,
      activeImages: 1,
      totalBytes: 259,
      sharedBytes: 220,
      uniqueBytes: 39,
      sumOfImagesBytes: 699,
      reclaimableBytes: 26,
    });
  });

  it('count an index and its members as one, and runs of a member as the index’s', () => {
    const members = ['amd64', 'arm64'].map((name) => manifest(name, ['base', name], { repository: 'acme/app', tags: [] }));
    const index = manifest('index', [], { repository: 'acme/app', blobs: [], manifests: members.map(({ digest }) => digest) });
    const { items, usage } = summarizeImages([...members, index], new Map([[hex('arm64'), 1]]));
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      digest: hex('index'),
      tags: ['v1'],
      layers: 3,
      activeRuns: 1,
      sizeBytes: 3 * 2 + 2 * 1 + 120 + 7 + 7,
    });
    expect(usage).toMatchObject({ images: 1, activeImages: 1, reclaimableBytes: 0 });
  });

  it('are not what hangs on them: a signature is its subject’s, until that is gone', () => {
    const [image] = founding as [CatalogImage];
    const signature = manifest('signature', ['s'], { repository: image.repository, tags: [], subject: image.digest });
    expect(topLevel([image, signature])).toEqual([image]);
    expect(topLevel([signature])).toEqual([signature]);
  });

  it('never reclaim more than they occupy, nor what is needed', () => {
    const layer = fc.constantFrom('base', 'node', 'a', 'b', 'c', 'd');
    const one = fc.record({ name: fc.constantFrom('p', 'q', 'r', 's'), layers: fc.array(layer, { maxLength: 4 }), runs: fc.nat(2) });
    fc.assert(
      fc.property(fc.uniqueArray(one, { selector: ({ name }) => name }), (all) => {
        const catalog = all.map(({ name, layers }) => manifest(name, layers));
        const active = new Map(all.filter(({ runs }) => runs > 0).map(({ name, runs }) => [hex(name), runs]));
        const { usage } = summarizeImages(catalog, active);
        const kept = summarizeImages(
          catalog.filter(({ digest }) => active.has(digest)),
          active,
        ).usage;
        expect(usage.sharedBytes + usage.uniqueBytes).toBe(usage.totalBytes);
        expect(usage.totalBytes - usage.reclaimableBytes).toBe(kept.totalBytes);
      }),
    );
  });
});

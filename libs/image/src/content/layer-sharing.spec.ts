import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layerSharing, reachable } from './layer-sharing.js';

describe('sharing layers', () => {
  it('is counted as in the founding picture: three apps on one base', () => {
    const bytes = new Map([
      ['base', 120],
      ['node', 100],
      ['a', 10],
      ['b', 10],
      ['c', 10],
    ]);
    const images = ['a', 'b', 'c'].map((app) => ({ digest: app, layers: ['base', 'node', app] }));
    expect(layerSharing(images, bytes)).toEqual({
      images: images.map(({ digest }) => ({ digest, bytes: 230, uniqueBytes: 10 })),
      layers: 5,
      totalBytes: 250,
      sharedBytes: 220,
      uniqueBytes: 30,
      unusedBytes: 0,
      sumOfImagesBytes: 690,
    });
  });

  it('adds up, whatever shares what', () => {
    const layer = fc.constantFrom('p', 'q', 'r', 's', 't');
    const images = fc.array(fc.record({ digest: fc.uuid(), layers: fc.array(layer, { maxLength: 8 }) }), { maxLength: 6 });
    const sizes = fc.dictionary(layer, fc.nat(1000)).map((object) => new Map(Object.entries(object)));
    fc.assert(
      fc.property(images, sizes, (all, bytes) => {
        const usage = layerSharing(all, bytes);
        expect(usage.sharedBytes + usage.uniqueBytes + usage.unusedBytes).toBe(usage.totalBytes);
        expect(usage.sumOfImagesBytes).toBeGreaterThanOrEqual(usage.totalBytes - usage.unusedBytes);
        expect(usage.images.reduce((total, image) => total + image.uniqueBytes, 0)).toBe(usage.uniqueBytes);
      }),
    );
  });
});

describe('reachability', () => {
  it('is the smallest set that holds the roots and is closed under references', () => {
    const graph = fc.array(fc.tuple(fc.nat(12), fc.nat(12)), { maxLength: 40 });
    fc.assert(
      fc.property(graph, fc.array(fc.nat(12), { maxLength: 4 }), (edges, roots) => {
        const next = (from: number) => edges.filter(([source]) => source === from).map(([, target]) => target);
        const found = reachable(roots, next);
        for (const root of roots) expect(found.has(root)).toBe(true);
        for (const item of found) {
          for (const target of next(item)) expect(found.has(target)).toBe(true);
          const reason = roots.includes(item) || edges.some(([source, target]) => target === item && found.has(source));
          expect(reason).toBe(true);
        }
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reachable } from './layer-sharing.js';
import { type CollectableImage, planCollection } from './plan-collection.js';

const layer = fc.constantFrom('p', 'q', 'r', 's', 't', 'u');
const image = fc.record({ digest: fc.constantFrom('A', 'B', 'C', 'D', 'E', 'F'), layers: fc.array(layer), lastUsedMs: fc.nat(5) });
const store = fc.record({
  images: fc.uniqueArray(image, { selector: ({ digest }) => digest, maxLength: 6 }),
  bytesOf: fc.dictionary(layer, fc.nat(100)).map((object) => new Map(Object.entries(object))),
  keep: fc.array(fc.oneof(layer, fc.constantFrom('A', 'B', 'C', 'D', 'elsewhere'))),
  wantedBytes: fc.oneof(fc.nat(300), fc.constant(Number.POSITIVE_INFINITY)),
});

describe('a collection', () => {
  const bytes = new Map([
    ['base', 120],
    ['node', 100],
    ['a', 10],
    ['b', 10],
    ['left', 5],
  ]);
  const images: readonly CollectableImage[] = [
    { digest: 'B', layers: ['base', 'node', 'b'], lastUsedMs: 2 },
    { digest: 'A', layers: ['base', 'node', 'a'], lastUsedMs: 1 },
  ];

  it('takes the layers of no image first, then the image that was used least recently', () => {
    expect(planCollection(images, bytes, [], 1)).toEqual({ images: [], layers: ['left'], bytes: 5 });
    expect(planCollection(images, bytes, [], 6)).toEqual({ images: ['A'], layers: ['left', 'a'], bytes: 15 });
  });

  it('frees a shared layer with the last image that stands on it', () => {
    expect(planCollection(images, bytes, [], 16)).toEqual({ images: ['A', 'B'], layers: ['left', 'a', 'base', 'node', 'b'], bytes: 245 });
  });

  it('takes nothing where nothing is wanted', () => {
    expect(planCollection(images, bytes, [], 0)).toEqual({ images: [], layers: [], bytes: 0 });
  });

  it('never touches what is in use, nor what a remaining image stands on', () => {
    fc.assert(
      fc.property(store, ({ images, bytesOf, keep, wantedBytes }) => {
        const plan = planCollection(images, bytesOf, keep, wantedBytes);
        const gone = new Set([...plan.images, ...plan.layers]);
        const staying = images.filter(({ digest }) => !gone.has(digest));
        const layersOf = (id: string) => images.find(({ digest }) => digest === id)?.layers ?? [];
        for (const id of reachable([...keep, ...staying.map(({ digest }) => digest)], layersOf)) expect(gone.has(id)).toBe(false);
        expect(new Set(plan.layers).size).toBe(plan.layers.length);
        expect(plan.bytes).toBe(plan.layers.reduce((total, id) => total + (bytesOf.get(id) ?? Number.NaN), 0));
      }),
    );
  });

  it('frees as much as is wanted or all that may go, and gives up no image more than that takes', () => {
    fc.assert(
      fc.property(store, ({ images, bytesOf, keep, wantedBytes }) => {
        const plan = planCollection(images, bytesOf, keep, wantedBytes);
        const all = planCollection(images, bytesOf, keep, Number.POSITIVE_INFINITY);
        if (plan.bytes < wantedBytes && wantedBytes > 0) expect(plan).toEqual(all);
        expect(all.images.slice(0, plan.images.length)).toEqual(plan.images);
        if (plan.images.length > 0) {
          const lastUsed = (digest: string | undefined) => images.find((one) => one.digest === digest)?.lastUsedMs ?? Number.NaN;
          const unused = all.images.slice(plan.images.length);
          for (const digest of unused) expect(lastUsed(digest)).toBeGreaterThanOrEqual(lastUsed(plan.images.at(-1)));
          const without = images.filter(({ digest }) => !plan.images.slice(0, -1).includes(digest));
          const before = planCollection(without, bytesOf, [...keep, ...without.map(({ digest }) => digest)], Number.POSITIVE_INFINITY);
          expect(before.bytes).toBeLessThan(wantedBytes);
        }
      }),
    );
  });

  it('is the same for the same store', () => {
    fc.assert(
      fc.property(store, ({ images, bytesOf, keep, wantedBytes }) => {
        expect(planCollection([...images].reverse(), bytesOf, keep, wantedBytes).images).toEqual(
          planCollection(images, bytesOf, keep, wantedBytes).images,
        );
      }),
    );
  });
});

/** An image as the sum of its layers. */
export interface LayeredImage {
  readonly digest: string;
  /** Diff ids; one that occurs twice counts once. */
  readonly layers: readonly string[];
}

export interface ImageUsage {
  readonly digest: string;
  /** Disk space of all its layers. */
  readonly bytes: number;
  /** Disk space of the layers that no other image uses: what removing the image would free. */
  readonly uniqueBytes: number;
}

export interface StoreUsage {
  readonly images: readonly ImageUsage[];
  readonly layers: number;
  /** Disk space of all layers: what is really occupied. */
  readonly totalBytes: number;
  /** The part of it in layers of two or more images. */
  readonly sharedBytes: number;
  /** The part of it in layers of one image. */
  readonly uniqueBytes: number;
  /** The part of it in layers of no image. */
  readonly unusedBytes: number;
  /** What the images would occupy if they shared nothing. */
  readonly sumOfImagesBytes: number;
}

const sum = (numbers: Iterable<number>): number => {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
};

/** What sharing layers saves. `bytesOf` gives each layer on disk and its space. Pure. */
export function layerSharing(images: readonly LayeredImage[], bytesOf: ReadonlyMap<string, number>): StoreUsage {
  const users = new Map<string, number>();
  for (const image of images) for (const layer of new Set(image.layers)) users.set(layer, (users.get(layer) ?? 0) + 1);
  const bytesWhere = (matches: (users: number) => boolean) =>
    sum([...bytesOf].map(([layer, bytes]) => (matches(users.get(layer) ?? 0) ? bytes : 0)));
  const usages = images.map(({ digest, layers }) => {
    const distinct = [...new Set(layers)];
    return {
      digest,
      bytes: sum(distinct.map((layer) => bytesOf.get(layer) ?? 0)),
      uniqueBytes: sum(distinct.map((layer) => (users.get(layer) === 1 ? (bytesOf.get(layer) ?? 0) : 0))),
    };
  });
  return {
    images: usages,
    layers: bytesOf.size,
    totalBytes: sum(bytesOf.values()),
    sharedBytes: bytesWhere((count) => count > 1),
    uniqueBytes: bytesWhere((count) => count === 1),
    unusedBytes: bytesWhere((count) => count === 0),
    sumOfImagesBytes: sum(usages.map(({ bytes }) => bytes)),
  };
}

/** Everything that can be reached from the roots by following references; the roots are in it. Knows no storage; cycles do no harm. Pure. */
export function reachable<T>(roots: Iterable<T>, references: (from: T) => Iterable<T>): Set<T> {
  const found = new Set(roots);
  // A Set's iteration visits what is added meanwhile.
  for (const item of found) for (const next of references(item)) found.add(next);
  return found;
}

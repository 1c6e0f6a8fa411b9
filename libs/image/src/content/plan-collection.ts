import { type LayeredImage, reachable } from './layer-sharing.js';

export interface CollectableImage extends LayeredImage {
  /** Unix milliseconds of its last use. */
  readonly lastUsedMs: number;
}

/** What is to be removed. */
export interface Collection {
  /** Digests, in the order in which they are given up. */
  readonly images: readonly string[];
  /** Diff ids of the layers that nothing reaches then. */
  readonly layers: readonly string[];
  /** Disk space that this frees. */
  readonly bytes: number;
}

/**
 * What to remove so that `wantedBytes` come free: layers of no image first (they came with pulls that failed), then images, least recently used first and no
 * more of them than needed; all that may go where it is never enough. `keep` names the images and layers that are in use; nothing that can be reached from
 * them is ever chosen, nor a layer that an image which stays stands on. `bytesOf` gives each layer on disk and its space. Pure.
 */
export function planCollection(
  images: readonly CollectableImage[],
  bytesOf: ReadonlyMap<string, number>,
  keep: Iterable<string>,
  wantedBytes: number,
): Collection {
  const layersOf = new Map(images.map(({ digest, layers }) => [digest, new Set(layers)]));
  const kept = reachable(keep, (id) => layersOf.get(id) ?? []);
  const users = new Map<string, number>();
  for (const layers of layersOf.values()) for (const layer of layers) users.set(layer, (users.get(layer) ?? 0) + 1);
  const chosen = { images: [] as string[], layers: [] as string[], bytes: 0 };
  const giveUp = (layer: string): void => {
    if (kept.has(layer) || !bytesOf.has(layer)) return;
    chosen.layers.push(layer);
    chosen.bytes += bytesOf.get(layer) ?? 0;
  };
  if (wantedBytes <= 0) return chosen;
  for (const layer of bytesOf.keys()) if (!users.has(layer)) giveUp(layer);
  const idle = images.filter(({ digest }) => !kept.has(digest)).sort(leastRecentlyUsedFirst);
  for (const { digest } of idle) {
    if (chosen.bytes >= wantedBytes) break;
    chosen.images.push(digest);
    for (const layer of layersOf.get(digest) ?? []) {
      const left = (users.get(layer) ?? 0) - 1;
      users.set(layer, left);
      if (left === 0) giveUp(layer);
    }
  }
  return chosen;
}

/** Digests decide between equals, so that equal stores give equal plans. */
function leastRecentlyUsedFirst(a: CollectableImage, b: CollectableImage): number {
  return a.lastUsedMs - b.lastUsedMs || (a.digest < b.digest ? -1 : 1);
}

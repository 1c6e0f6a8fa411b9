import { LayerStore, type SizedLayer } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';

/** Nodes tell what they hold with their heartbeats: a look at it stays good for so long. */
const heldMs = 2_000;
/** One that nobody had described is asked for again after so long. */
const undescribedMs = 30_000;
const imagesMax = 10_000;

/** How many bytes a node would have to fetch for an image, as far as is known. */
export type MissingBytes = (nodeId: string, image: string) => number;

/** Knows which layers nodes hold and which an image has, for placements to go where the bytes are. */
@Injectable()
export class LayerLocality {
  private held: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  private heldAt = Number.NEGATIVE_INFINITY;
  /** What is behind a digest never changes; what nobody has described may be soon. The oldest first. */
  private readonly images = new Map<string, { readonly layers: readonly SizedLayer[]; readonly untilMs: number }>();

  constructor(@Inject(LayerStore) private readonly layers: LayerStore) {}

  /** What is known of these images. Of one that nobody has described every node lacks nothing, so that it says nothing for any. */
  async look(images: Iterable<string>): Promise<MissingBytes> {
    const asked = new Set(images);
    const nowMs = performance.now();
    const unknown = [...asked].filter((image) => (this.images.get(image)?.untilMs ?? 0) < nowMs);
    if (unknown.length > 0) {
      const found = await this.layers.layersOf(unknown);
      for (const image of unknown) this.remember(image, found.get(image), nowMs);
    }
    if (nowMs - this.heldAt > heldMs) {
      this.held = await this.layers.held();
      this.heldAt = nowMs;
    }
    return missingBytes(this.held, new Map([...asked].map((image) => [image, this.images.get(image)?.layers ?? []])));
  }

  private remember(image: string, layers: readonly SizedLayer[] | undefined, nowMs: number): void {
    const [oldest] = this.images.keys();
    if (this.images.size >= imagesMax && oldest !== undefined) this.images.delete(oldest);
    this.images.set(image, { layers: layers ?? [], untilMs: layers === undefined ? nowMs + undescribedMs : Number.POSITIVE_INFINITY });
  }
}

/** Counts each pair of node and image once. Pure. */
export function missingBytes(
  held: ReadonlyMap<string, ReadonlySet<string>>,
  images: ReadonlyMap<string, readonly SizedLayer[]>,
): MissingBytes {
  const counted = new Map<string, number>();
  return (nodeId, image) => {
    const key = `${nodeId} ${image}`;
    const known = counted.get(key);
    if (known !== undefined) return known;
    const here = held.get(nodeId);
    const distinct = new Map((images.get(image) ?? []).map(({ digest, size }) => [digest, size]));
    const bytes = [...distinct].reduce((sum, [digest, size]) => (here?.has(digest) === true ? sum : sum + size), 0);
    counted.set(key, bytes);
    return bytes;
  };
}

/** One layer's blob. */
export interface SizedLayer {
  digest: string;
  /** Compressed bytes. */
  size: number;
}

/** Which layers nodes hold, and which images have. Hints for placement: nothing rests on them. */
export abstract class LayerStore {
  /** What a node holds now, in place of what it told before. */
  abstract tell(nodeId: string, layers: readonly string[]): Promise<void>;
  /** By ready node. */
  abstract held(): Promise<ReadonlyMap<string, ReadonlySet<string>>>;
  abstract describe(image: string, layers: readonly SizedLayer[]): Promise<void>;
  /** Of those images that were described. */
  abstract layersOf(images: readonly string[]): Promise<ReadonlyMap<string, readonly SizedLayer[]>>;
}

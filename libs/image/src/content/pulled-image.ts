import type { ImageConfig } from '../image-config.js';
import type { LayerForm } from './layer-program.js';

/** One layer, whole on this machine. Immutable and shared by every image that names it. */
export interface PulledLayer {
  /** Digest of the blob as the registry serves it. */
  readonly digest: string;
  /** Digest of the uncompressed archive; the layer's identity on disk. */
  readonly diffId: string;
  /** Absolute path of its image or its tree, with whiteouts in overlay's form. */
  readonly path: string;
  readonly form: LayerForm;
  /** Disk space that it occupies. */
  readonly bytes: number;
}

/** An image, whole and verified on this machine. */
export interface PulledImage {
  /** The digest that was asked for: of an index or of a manifest. */
  readonly digest: string;
  /** The digest of the manifest of this machine's platform. */
  readonly manifestDigest: string;
  readonly config: ImageConfig;
  /** Lowest first, topmost last. */
  readonly layers: readonly PulledLayer[];
}

/** What a pull has done so far. `totalBytes` counts the blobs that are not on this machine yet. */
export interface PullProgress {
  readonly downloadedBytes: number;
  readonly totalBytes: number;
  readonly layersDone: number;
  readonly layersTotal: number;
}

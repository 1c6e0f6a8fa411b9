export { type BuildConfig, type BuiltImage, buildImage, type PushResult, pushImage } from './build-image.js';
export { type BuiltLayer, buildLayer, type LayerEntry } from './build-layer.js';
export { collectProgram } from './collect-program.js';
export {
  ContentStore,
  type ContentStoreOptions,
  type ImageRecord,
  type LayerRecord,
  type RemovedContent,
} from './content-store.js';
export type { ImageConfig } from './image-config.js';
export { parseImageConfig } from './image-config.js';
export { ImageError, type ImageErrorCode, isTransient } from './image-error.js';
export { DEFAULT_PULL_LIMITS, ImagePuller, type PullLimits, type PullOptions } from './image-puller.js';
export { isInternalAddress } from './internal-address.js';
export { type ImageUsage, type LayeredImage, layerSharing, reachable, type StoreUsage } from './layer-sharing.js';
export type { Descriptor, ImageIndex, ImageManifest, IndexEntry } from './manifest.js';
export { MEDIA_TYPES } from './media-types.js';
export { OverlaySnapshotter } from './overlay-snapshotter.js';
export { hostPlatform, type Platform } from './platform.js';
export type { PulledImage, PulledLayer, PullProgress } from './pulled-image.js';
export {
  type FetchedManifest,
  type ImageReference,
  type OperationOptions,
  type PlatformImage,
  RegistryClient,
  type RegistryClientOptions,
  type RepositoryReference,
  type ResolvedImage,
} from './registry-client.js';
export { DEFAULT_REGISTRY_LIMITS, type RegistryLimits } from './registry-limits.js';
export type { RegistryEndpoint } from './registry-transport.js';
export { type SnapshotIds, type SnapshotLayer, type SnapshotRecord, Snapshotter } from './snapshotter.js';

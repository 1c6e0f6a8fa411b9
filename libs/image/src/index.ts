export type { ImageConfig } from './image-config.js';
export { parseImageConfig } from './image-config.js';
export { ImageError, type ImageErrorCode, isTransient } from './image-error.js';
export { isInternalAddress } from './internal-address.js';
export type { Descriptor, ImageIndex, ImageManifest, IndexEntry } from './manifest.js';
export { MEDIA_TYPES } from './media-types.js';
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

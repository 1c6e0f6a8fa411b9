export { type ExportOptions, exportImage } from './archive/export-archive.js';
export { type ImportOptions, importImage } from './archive/import-archive.js';
export { type BuildConfig, type BuiltImage, buildImage, type PushResult, pushImage } from './build/build-image.js';
export { type BuiltLayer, buildLayer, type LayerEntry } from './build/build-layer.js';
export { collectProgram } from './build/collect-program.js';
export { type Commit, commitImage, type WrittenLayer } from './commit/commit-image.js';
export {
  ContentStore,
  type ContentStoreOptions,
  type ImageRecord,
  type LayerRecord,
  type RemovedContent,
} from './content/content-store.js';
export { DEFAULT_PULL_LIMITS, ImagePuller, type PullLimits, type PullOptions } from './content/image-puller.js';
export type { Change, ChangeList, LayerForm, UnpackLimits } from './content/layer-program.js';
export { type ImageUsage, type LayeredImage, layerSharing, reachable, type StoreUsage } from './content/layer-sharing.js';
export { type CollectableImage, type Collection, planCollection } from './content/plan-collection.js';
export type { PulledImage, PulledLayer, PullProgress } from './content/pulled-image.js';
export type { ImageConfig } from './image-config.js';
export { parseImageConfig } from './image-config.js';
export { ImageError, type ImageErrorCode, isTransient } from './image-error.js';
export { hostPlatform, type Platform } from './platform.js';
export { isInternalAddress } from './registry/internal-address.js';
export type { Descriptor, ImageIndex, ImageManifest, IndexEntry } from './registry/manifest.js';
export { MEDIA_TYPES } from './registry/media-types.js';
export {
  type FetchedManifest,
  type ImageReference,
  type OperationOptions,
  type PlatformImage,
  RegistryClient,
  type RegistryClientOptions,
  type RepositoryReference,
  type ResolvedImage,
} from './registry/registry-client.js';
export { DEFAULT_REGISTRY_LIMITS, type RegistryLimits } from './registry/registry-limits.js';
export type { RegistryEndpoint } from './registry/registry-transport.js';
export { OverlaySnapshotter } from './snapshot/overlay-snapshotter.js';
export { type ProbedForm, probeLayerForm } from './snapshot/probe-layer-form.js';
export {
  type DiskLimitMethod,
  diskLimitMethods,
  type SnapshotIds,
  type SnapshotLayer,
  type SnapshotLimit,
  type SnapshotRecord,
  Snapshotter,
  UnreadableLayerError,
} from './snapshot/snapshotter.js';

import { z } from 'zod';
import { digest, imageText, timestamp } from './primitives.js';

const bytes = z.int().min(0);

/** An image in the tenant's part of the embedded registry: a manifest, or an index with the manifests that it names. */
export const image = z.object({
  repository: z.string().describe('As references name it: registry.berth/TENANT/NAME'),
  tags: z.array(z.string()).describe('None when the tags that it had point elsewhere now'),
  digest,
  mediaType: z.string(),
  pushedAt: timestamp,
  layers: z.int().describe('Different ones, of all platforms'),
  sizeBytes: bytes.describe('Compressed, as the registry keeps it: layers, configurations, manifests'),
  uniqueBytes: bytes.describe('The part of it in no other image of the tenant: what removing the image frees'),
  activeRuns: z.int().describe('Runs of it that have not ended'),
});
export type Image = z.infer<typeof image>;

/** Sums over all images of a tenant. What is shared counts once, but for `sumOfImagesBytes`. */
export const imageUsage = z.object({
  images: z.int(),
  activeImages: z.int().describe('Those with runs that have not ended'),
  totalBytes: bytes.describe('What they occupy together'),
  sharedBytes: bytes.describe('The part of it in two or more images'),
  uniqueBytes: bytes.describe('The part of it in one image'),
  sumOfImagesBytes: bytes.describe('What they would occupy if they shared nothing'),
  reclaimableBytes: bytes.describe('What comes free without those that no run needs'),
});
export type ImageUsage = z.infer<typeof imageUsage>;

export const imageList = z.object({
  items: z.array(image).describe('By repository, the latest first'),
  usage: imageUsage,
  isComplete: z.boolean().describe('False where the tenant has more images than one answer can show'),
});

export const imageQuery = z.strictObject({ image: imageText });
export const removeImageQuery = imageQuery.extend({
  force: z.enum(['true', 'false']).default('false').describe('Also when runs that have not ended need it'),
});

/** One line of an image's history, oldest first. */
const historyEntry = z.object({
  createdAt: z.string().nullable().describe("As the image's author wrote it"),
  createdBy: z.string(),
  comment: z.string(),
  layer: digest.nullable().describe('Of the blob that it made; null: it changed the configuration alone'),
  sizeBytes: bytes,
});

export const imageDetails = z.object({
  image: z.string().describe('As asked for'),
  digest,
  manifestDigest: digest.describe("Of this platform's manifest; the same where the image is no index"),
  mediaType: z.string(),
  platform: z.string(),
  createdAt: z.string().nullable(),
  sizeBytes: bytes.describe('Compressed layers and configuration'),
  config: z.object({
    entrypoint: z.array(z.string()),
    cmd: z.array(z.string()),
    env: z.array(z.string()),
    workingDir: z.string(),
    user: z.string(),
    stopSignal: z.string().nullable(),
    labels: z.record(z.string(), z.string()),
    volumes: z.array(z.string()),
    exposedPorts: z.array(z.string()),
  }),
  layers: z.array(z.object({ digest, diffId: digest, mediaType: z.string(), sizeBytes: bytes })).describe('Lowest first'),
  history: z.array(historyEntry),
});
export type ImageDetails = z.infer<typeof imageDetails>;

/** What a removal did. Space comes free when the registry sweeps next. */
export const removedImages = z.object({
  untagged: z.array(z.string()).describe('References that name nothing any more'),
  deleted: z.array(z.string()).describe('As repository@digest'),
  freedBytes: bytes.describe('What no image of the tenant needs any more'),
});
export type RemovedImages = z.infer<typeof removedImages>;

export const pruneImagesRequest = z.strictObject({
  all: z
    .boolean()
    .default(false)
    .describe('Tagged images too, when no run that has not ended needs them; without it only those without a tag'),
  olderThanMs: z
    .int()
    .min(0)
    .default(600_000)
    .describe('Only what was pushed so long ago: a push of several platforms has no tag until its end'),
});

/** A node's disk as its agent last told it. */
export const nodeDisk = z.object({
  capacityBytes: bytes.describe('Of the filesystem that holds layers and writable layers'),
  availableBytes: bytes,
  images: z.int(),
  layers: z.int(),
  totalBytes: bytes.describe('Of all layers, each once'),
  sharedBytes: bytes.describe('Of layers in two or more images'),
  uniqueBytes: bytes.describe('Of layers in one image'),
  unusedBytes: bytes.describe('Of layers in no image'),
  sumOfImagesBytes: bytes.describe('What the images would occupy if they shared nothing'),
});
export type NodeDisk = z.infer<typeof nodeDisk>;

/** What a tenant occupies. */
export const diskUsage = z.object({
  images: imageUsage,
  containers: z.object({
    active: z.int().describe('Runs on nodes'),
    reservedBytes: bytes.describe('What those may write that bound it'),
  }),
  logs: z.object({
    runs: z.int().describe('Runs that are kept'),
    endedRuns: z.int(),
    sizeBytes: bytes.describe('Written or reserved'),
    reclaimableBytes: bytes.describe('Of runs that have ended: what deleting them frees'),
  }),
});
export type DiskUsage = z.infer<typeof diskUsage>;

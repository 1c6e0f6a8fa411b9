import { embeddedRegistry } from '@berth/core';
import { layerSharing, reachable } from '@berth/image';
import type { Image, ImageUsage } from '@berth/wire';
import type { CatalogImage } from './image-catalog.js';

export interface ImageSummary {
  readonly items: readonly Image[];
  readonly usage: ImageUsage;
}

/** What an image stands for in the sums: its manifests, and those of an index its members', are blobs like others. */
interface Parts {
  readonly image: CatalogImage;
  readonly parts: readonly string[];
  readonly layers: number;
}

/**
 * A tenant's images with what they share. An index and its members are one image; a referrer (a signature, say) belongs to its subject while that is there.
 * `activeRuns` counts the runs that have not ended by the digest they were resolved to. Pure.
 */
export function summarizeImages(catalog: readonly CatalogImage[], activeRuns: ReadonlyMap<string, number>): ImageSummary {
  const byName = new Map(catalog.map((image) => [nameOf(image), image]));
  const bytesOf = new Map(catalog.flatMap(({ digest, sizeBytes, blobs }) => [[digest, sizeBytes] as const, ...blobs.map(blobSize)]));
  const all = topLevel(catalog).map((image): Parts => {
    const manifests = membersOf(image, byName);
    const blobs = new Set(manifests.flatMap((one) => one.blobs.map(({ digest }) => digest)));
    const configs = new Set(manifests.flatMap((one) => one.blobs.slice(0, 1).map(({ digest }) => digest)));
    return { image, parts: [...manifests.map(({ digest }) => digest), ...blobs], layers: blobs.size - configs.size };
  });
  // One digest may stand in several repositories: removing one of them frees nothing.
  const sharing = layerSharing(
    all.map(({ image, parts }) => ({ digest: nameOf(image), layers: parts })),
    bytesOf,
  );
  const isActive = ({ image, parts }: Parts) => [image.digest, ...parts].some((digest) => activeRuns.has(digest));
  const active = all.filter(isActive);
  const needed = reachable(active, () => []);
  const neededParts = new Set([...needed].flatMap(({ parts }) => parts));
  const items = all.map(({ image, layers }, index): Image => {
    const { bytes = 0, uniqueBytes = 0 } = sharing.images[index] ?? {};
    const { repository, tags, digest, mediaType, pushedAtMs } = image;
    const runs = new Set([digest, ...membersOf(image, byName).map((one) => one.digest)]);
    return {
      repository: `${embeddedRegistry}/${repository}`,
      tags: [...tags],
      digest,
      mediaType,
      pushedAt: new Date(pushedAtMs).toISOString(),
      layers,
      sizeBytes: bytes,
      uniqueBytes,
      activeRuns: [...runs].reduce((total, one) => total + (activeRuns.get(one) ?? 0), 0),
    };
  });
  return {
    items: items.sort((a, b) => compare(a.repository, b.repository) || compare(b.pushedAt, a.pushedAt) || compare(a.digest, b.digest)),
    usage: {
      images: all.length,
      activeImages: active.length,
      totalBytes: sharing.sharedBytes + sharing.uniqueBytes,
      sharedBytes: sharing.sharedBytes,
      uniqueBytes: sharing.uniqueBytes,
      sumOfImagesBytes: sharing.sumOfImagesBytes,
      reclaimableBytes: sharing.sharedBytes + sharing.uniqueBytes - sum([...neededParts].map((digest) => bytesOf.get(digest) ?? 0)),
    },
  };
}

/** The images among the manifests: those that no index of the repository names, and whose subject is not there. */
export function topLevel(catalog: readonly CatalogImage[]): CatalogImage[] {
  const byName = new Map(catalog.map((image) => [nameOf(image), image]));
  const named = new Set(catalog.flatMap(({ repository, manifests }) => manifests.map((digest) => `${repository}@${digest}`)));
  return catalog.filter((image) => {
    const hangsOn = image.subject !== null && byName.has(`${image.repository}@${image.subject}`);
    return image.tags.length > 0 || (!named.has(nameOf(image)) && !hangsOn);
  });
}

/** The manifest itself and all that it names in its repository. */
export function membersOf(image: CatalogImage, byName: ReadonlyMap<string, CatalogImage>): CatalogImage[] {
  const member = (digest: string) => byName.get(`${image.repository}@${digest}`);
  return [...reachable([image], (one) => one.manifests.flatMap((digest) => member(digest) ?? []))];
}

/** `repository@digest`, within the registry. */
export function nameOf({ repository, digest }: Pick<CatalogImage, 'repository' | 'digest'>): string {
  return `${repository}@${digest}`;
}

const blobSize = ({ digest, sizeBytes }: { digest: string; sizeBytes: number }) => [digest, sizeBytes] as const;
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

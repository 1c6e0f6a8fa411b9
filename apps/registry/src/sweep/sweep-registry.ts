import type { Digest } from '@berth/core';
import type { ContentStore } from '../storage/content-store.js';
import type { RepositoryStore } from '../storage/repository-store.js';
import type { UploadStore } from '../storage/upload-store.js';
import { reachable, sweepable } from './reachability.js';

export interface SweepOutcome {
  readonly expiredUploads: number;
  readonly removedLinks: number;
  readonly removedContents: number;
  readonly freedBytes: number;
  /** What is left. */
  readonly contents: number;
  readonly contentBytes: number;
}

/**
 * One pass of the garbage collector: uploads nobody continues, then links that no manifest needs, then content that no link shows. Pushes
 * and pulls go on meanwhile; the stores' locks and the grace see to it that nothing is removed that a push in progress relies on.
 */
export async function sweepRegistry(
  stores: { content: ContentStore; repositories: RepositoryStore; uploads: UploadStore },
  times: { nowMs: number; graceMs: number; uploadExpiryMs: number },
): Promise<SweepOutcome> {
  const cutoffMs = times.nowMs - times.graceMs;
  const expiredUploads = await stores.uploads.expire(times.nowMs - times.uploadExpiryMs);

  let removedLinks = 0;
  const linked = new Set<Digest>();
  for (const repository of await stores.repositories.listWithLinks()) {
    removedLinks += await stores.repositories.sweepLinks(repository, (links, manifests) => {
      const needed = reachable(manifests.keys(), (digest) => {
        const manifest = manifests.get(digest);
        return manifest === undefined ? [] : [...manifest.blobs, ...manifest.manifests];
      });
      return sweepable(links, needed, cutoffMs);
    });
    for (const { digest } of await stores.repositories.blobLinks(repository)) linked.add(digest);
    for await (const { digest } of stores.repositories.records(repository)) linked.add(digest);
  }

  let removedContents = 0;
  let freedBytes = 0;
  let contents = 0;
  let contentBytes = 0;
  for await (const content of stores.content.list()) {
    const freed =
      sweepable([content], linked, cutoffMs).length === 0 ? null : await stores.content.removeUntouched(content.digest, cutoffMs);
    if (freed === null) {
      contents += 1;
      contentBytes += content.sizeBytes;
    } else {
      removedContents += 1;
      freedBytes += freed;
    }
  }
  return { expiredUploads, removedLinks, removedContents, freedBytes, contents, contentBytes };
}

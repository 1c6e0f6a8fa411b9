import { readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Digest, digestOf, isValidDigest } from '@berth/core';
import { emptyWhenMissing, nullWhenMissing, RegistryError } from '../errors.js';
import type { Manifest } from '../manifest/parse-manifest.js';
import { isValidRepositoryName, isValidTag, type ManifestReference, type RepositoryName, type Tag } from '../names.js';
import type { ContentStore } from './content-store.js';
import { syncDirectory, writeDurably } from './durable.js';
import { KeyedLock } from './keyed-lock.js';
import type { Layout } from './layout.js';

/** What a repository's manifest link holds. */
export interface ManifestRecord {
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly blobs: readonly Digest[];
  readonly manifests: readonly Digest[];
  readonly subject: Digest | null;
  readonly artifactType: string | null;
  readonly annotations: Readonly<Record<string, string>> | null;
}

/** A manifest as the list of images shows it. */
export interface StoredImage {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly tags: readonly Tag[];
  /** Of the manifest itself. */
  readonly sizeBytes: number;
  readonly pushedAtMs: number;
  readonly blobs: readonly { readonly digest: Digest; readonly sizeBytes: number }[];
  /** Of an index: the manifests that it names. */
  readonly manifests: readonly Digest[];
  readonly subject: Digest | null;
}

export interface Link {
  readonly digest: Digest;
  readonly touchedAtMs: number;
}

/**
 * What each repository holds of the content: blobs, manifests, tags, referrers.
 *
 * INVARIANT: all that a repository's manifests name is linked in the same repository. Changes to one repository's manifests and removals of
 * its links exclude each other by its lock. The lock is taken before the content's, never the other way round.
 */
export class RepositoryStore {
  readonly #lock = new KeyedLock();

  constructor(
    private readonly layout: Layout,
    private readonly content: ContentStore,
  ) {}

  /** Whether a manifest was ever pushed to it. */
  async exists(repository: RepositoryName): Promise<boolean> {
    return (await stat(this.layout.manifests(repository)).catch(nullWhenMissing)) !== null;
  }

  /** The length of a blob that this repository holds; null when it holds none of that digest. */
  async blobSizeBytes(repository: RepositoryName, digest: Digest): Promise<number | null> {
    const link = await stat(this.layout.blobLink(repository, digest)).catch(nullWhenMissing);
    return link === null ? null : this.content.sizeBytes(digest);
  }

  /** Takes over the synced file of an upload, whose bytes have this digest, and makes it visible in the repository. */
  async adoptBlob(repository: RepositoryName, path: string, digest: Digest): Promise<'stored' | 'known'> {
    return this.#lock.hold(repository, () => this.content.adopt(path, digest, () => this.#linkBlob(repository, digest)));
  }

  /** Gives a blob that a push will build on, but did not upload again, a new grace before the sweep. */
  async renewBlob(repository: RepositoryName, digest: Digest): Promise<void> {
    await this.#lock.hold(repository, async () => {
      const now = new Date();
      await utimes(this.layout.blobLink(repository, digest), now, now).catch(nullWhenMissing);
    });
  }

  /** Links a blob of another repository here; false when `from` does not hold it. */
  async mountBlob(repository: RepositoryName, from: RepositoryName, digest: Digest): Promise<boolean> {
    return this.#lock.hold(repository, async () => {
      if ((await this.blobSizeBytes(from, digest)) === null) return false;
      return this.content.withContent(digest, () => this.#linkBlob(repository, digest));
    });
  }

  async deleteBlob(repository: RepositoryName, digest: Digest): Promise<'deleted' | 'unknown' | 'inUse'> {
    return this.#lock.hold(repository, async () => {
      if ((await this.blobSizeBytes(repository, digest)) === null) return 'unknown';
      for await (const { record } of this.records(repository)) if (record.blobs.includes(digest)) return 'inUse';
      await this.#remove(this.layout.blobLink(repository, digest));
      return 'deleted';
    });
  }

  /** Stores a manifest and points the tags to it. Throws MANIFEST_BLOB_UNKNOWN or MANIFEST_INVALID when what it names is not here as named. */
  async putManifest(repository: RepositoryName, manifest: Manifest, bytes: Uint8Array, tags: readonly Tag[]): Promise<Digest> {
    const digest = digestOf(bytes);
    const record: ManifestRecord = {
      mediaType: manifest.mediaType,
      sizeBytes: bytes.length,
      blobs: manifest.blobs.map((blob) => blob.digest),
      manifests: manifest.manifests.map((child) => child.digest),
      subject: manifest.subject?.digest ?? null,
      artifactType: manifest.artifactType,
      annotations: manifest.annotations,
    };
    await this.#lock.hold(repository, async () => {
      await this.#checkReferences(repository, manifest);
      // The referrer's link first: left alone by a crash it is skipped when listed, whereas a manifest without it would never be listed.
      if (record.subject !== null) await writeDurably(this.layout.scratch, this.layout.referrer(repository, record.subject, digest), '');
      await this.content.put(bytes, digest, () =>
        writeDurably(this.layout.scratch, this.layout.manifest(repository, digest), JSON.stringify(record)),
      );
      for (const tag of tags) await writeDurably(this.layout.scratch, this.layout.tag(repository, tag), digest);
    });
    return digest;
  }

  async findManifest(repository: RepositoryName, reference: ManifestReference): Promise<{ digest: Digest; record: ManifestRecord } | null> {
    const digest = reference.kind === 'digest' ? reference.digest : await this.#tagged(repository, reference.tag);
    if (digest === null) return null;
    const record = await this.#record(repository, digest);
    return record === null ? null : { digest, record };
  }

  async deleteTag(repository: RepositoryName, tag: Tag): Promise<boolean> {
    return this.#lock.hold(repository, () => this.#remove(this.layout.tag(repository, tag)));
  }

  /** Removes a manifest and every tag that points to it. `inUse`: an index here still names it. */
  async deleteManifest(repository: RepositoryName, digest: Digest): Promise<'deleted' | 'unknown' | 'inUse'> {
    return this.#lock.hold(repository, async () => {
      const record = await this.#record(repository, digest);
      if (record === null) return 'unknown';
      for await (const other of this.records(repository)) if (other.record.manifests.includes(digest)) return 'inUse';
      for (const tag of await this.tags(repository)) {
        if ((await this.#tagged(repository, tag)) === digest) await this.#remove(this.layout.tag(repository, tag));
      }
      await this.#remove(this.layout.manifest(repository, digest));
      if (record.subject !== null) await this.#remove(this.layout.referrer(repository, record.subject, digest));
      return 'deleted';
    });
  }

  /** In ASCII order. */
  async tags(repository: RepositoryName): Promise<Tag[]> {
    return (await readdir(this.layout.tags(repository)).catch(emptyWhenMissing)).filter(isValidTag).sort();
  }

  /** Every manifest of a repository, by digest. */
  async images(repository: RepositoryName): Promise<StoredImage[]> {
    const tagsOf = new Map<Digest, Tag[]>();
    for (const tag of await this.tags(repository)) {
      const digest = await this.#tagged(repository, tag);
      if (digest !== null) tagsOf.set(digest, [...(tagsOf.get(digest) ?? []), tag]);
    }
    const found: StoredImage[] = [];
    for await (const { digest, record } of this.records(repository)) {
      const link = await stat(this.layout.manifest(repository, digest)).catch(nullWhenMissing);
      // Deleted since it was listed.
      if (link === null) continue;
      const blobs = [];
      for (const blob of record.blobs) blobs.push({ digest: blob, sizeBytes: (await this.content.sizeBytes(blob)) ?? 0 });
      const { mediaType, sizeBytes, manifests, subject } = record;
      const tags = tagsOf.get(digest) ?? [];
      found.push({ repository, digest, mediaType, tags, sizeBytes, pushedAtMs: Math.round(link.mtimeMs), blobs, manifests, subject });
    }
    return found;
  }

  /** The manifests whose subject is `subject`, by digest. */
  async referrers(repository: RepositoryName, subject: Digest): Promise<{ digest: Digest; record: ManifestRecord }[]> {
    const found = [];
    for (const digest of digestsOf(await readdir(this.layout.referrers(repository, subject)).catch(emptyWhenMissing))) {
      const record = await this.#record(repository, digest);
      if (record?.subject === subject) found.push({ digest, record });
    }
    return found;
  }

  /** The repositories that hold or held manifests, of one tenant or of all, in ASCII order. */
  async list(tenant: string | null): Promise<RepositoryName[]> {
    const all = await this.#directories(tenant);
    const existing = await Promise.all(all.map((repository) => this.exists(repository)));
    return all.filter((_, index) => existing[index]);
  }

  /** Every repository with a link of any kind: a sweep must not overlook what a first push has uploaded so far. */
  async listWithLinks(): Promise<RepositoryName[]> {
    return this.#directories(null);
  }

  async *records(repository: RepositoryName): AsyncGenerator<{ digest: Digest; record: ManifestRecord }> {
    for (const digest of digestsOf(await readdir(this.layout.manifests(repository)).catch(emptyWhenMissing))) {
      const record = await this.#record(repository, digest);
      if (record !== null) yield { digest, record };
    }
  }

  async blobLinks(repository: RepositoryName): Promise<Link[]> {
    const links = [];
    for (const digest of digestsOf(await readdir(this.layout.blobLinks(repository)).catch(emptyWhenMissing))) {
      const found = await stat(this.layout.blobLink(repository, digest)).catch(nullWhenMissing);
      if (found !== null) links.push({ digest, touchedAtMs: found.mtimeMs });
    }
    return links;
  }

  /** Removes the blob links that `choose` picks from the repository's state, with no push of a manifest in between. */
  async sweepLinks(
    repository: RepositoryName,
    choose: (links: readonly Link[], manifests: ReadonlyMap<Digest, ManifestRecord>) => readonly Digest[],
  ): Promise<number> {
    return this.#lock.hold(repository, async () => {
      const manifests = new Map<Digest, ManifestRecord>();
      for await (const { digest, record } of this.records(repository)) manifests.set(digest, record);
      const chosen = choose(await this.blobLinks(repository), manifests);
      for (const digest of chosen) await this.#remove(this.layout.blobLink(repository, digest));
      return chosen.length;
    });
  }

  async #linkBlob(repository: RepositoryName, digest: Digest): Promise<void> {
    await writeDurably(this.layout.scratch, this.layout.blobLink(repository, digest), '');
  }

  async #checkReferences(repository: RepositoryName, manifest: Manifest): Promise<void> {
    for (const { digest, sizeBytes } of manifest.blobs) {
      const held = await this.blobSizeBytes(repository, digest);
      if (held === null) throw new RegistryError('MANIFEST_BLOB_UNKNOWN', 'the repository does not hold this blob', { detail: { digest } });
      if (held !== sizeBytes)
        throw new RegistryError('MANIFEST_INVALID', `${digest} has ${held} bytes, the manifest says ${sizeBytes}`, { detail: { digest } });
    }
    for (const { digest, sizeBytes, mediaType } of manifest.manifests) {
      const held = await this.#record(repository, digest);
      if (held === null)
        throw new RegistryError('MANIFEST_BLOB_UNKNOWN', 'the repository does not hold this manifest', { detail: { digest } });
      if (held.sizeBytes !== sizeBytes || held.mediaType !== mediaType)
        throw new RegistryError('MANIFEST_INVALID', `${digest} is ${held.mediaType} of ${held.sizeBytes} bytes, the index says otherwise`);
    }
  }

  async #tagged(repository: RepositoryName, tag: Tag): Promise<Digest | null> {
    const text = await readFile(this.layout.tag(repository, tag), 'utf8').catch(nullWhenMissing);
    return text !== null && isValidDigest(text) ? text : null;
  }

  async #record(repository: RepositoryName, digest: Digest): Promise<ManifestRecord | null> {
    const text = await readFile(this.layout.manifest(repository, digest), 'utf8').catch(nullWhenMissing);
    return text === null ? null : (JSON.parse(text) as ManifestRecord);
  }

  async #remove(path: string): Promise<boolean> {
    if ((await rm(path).catch(nullWhenMissing)) === null) return false;
    await syncDirectory(dirname(path));
    return true;
  }

  async #directories(tenant: string | null): Promise<RepositoryName[]> {
    const found: RepositoryName[] = [];
    const visit = async (path: string): Promise<void> => {
      const entries = await readdir(join(this.layout.repositories, path)).catch(emptyWhenMissing);
      if (isValidRepositoryName(path) && entries.some((entry) => entry.startsWith('_'))) found.push(path);
      for (const entry of entries) if (!entry.startsWith('_')) await visit(join(path, basename(entry)));
    };
    await visit(tenant ?? '');
    return found.sort();
  }
}

function digestsOf(names: readonly string[]): Digest[] {
  return names
    .map((name) => `sha256:${name}`)
    .filter(isValidDigest)
    .sort();
}

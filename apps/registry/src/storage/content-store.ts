import { type FileHandle, open, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, isValidDigest } from '@berth/core';
import { emptyWhenMissing, nullWhenMissing } from '../errors.js';
import { renameDurably, writeDurably } from './durable.js';
import { KeyedLock } from './keyed-lock.js';
import type { Layout } from './layout.js';

/**
 * Bytes by their digest, once for all repositories. What lies here was verified before it came and never changes. Says nothing of who may
 * see it: that is the repositories' part.
 *
 * INVARIANT: content is removed only while its lock is held, when no link names it and nothing touched it since the sweep's cutoff. Whoever
 * is about to link content holds the same lock and touches it first, so it cannot vanish under a link that is being made.
 */
export class ContentStore {
  readonly #lock = new KeyedLock();

  constructor(private readonly layout: Layout) {}

  /** Takes over the synced file at `path`, whose bytes have this digest, and runs `link` before a sweep can see the content. */
  async adopt(path: string, digest: Digest, link: () => Promise<void>): Promise<'stored' | 'known'> {
    return this.#lock.hold(digest, async () => {
      const known = await this.#touch(digest);
      if (known) await rm(path, { force: true });
      else await renameDurably(path, this.layout.content(digest));
      await link();
      return known ? 'known' : 'stored';
    });
  }

  /** As `adopt`, for bytes in memory. */
  async put(bytes: Uint8Array, digest: Digest, link: () => Promise<void>): Promise<void> {
    await this.#lock.hold(digest, async () => {
      if (!(await this.#touch(digest))) await writeDurably(this.layout.scratch, this.layout.content(digest), bytes);
      await link();
    });
  }

  /** Runs `link` while the content cannot be swept; false when there is no such content. */
  async withContent(digest: Digest, link: () => Promise<void>): Promise<boolean> {
    return this.#lock.hold(digest, async () => {
      if (!(await this.#touch(digest))) return false;
      await link();
      return true;
    });
  }

  /** The open file and its length; the caller closes it. null when there is no such content. */
  async open(digest: Digest): Promise<{ file: FileHandle; sizeBytes: number } | null> {
    const file = await open(this.layout.content(digest), 'r').catch(nullWhenMissing);
    return file === null ? null : { file, sizeBytes: (await file.stat()).size };
  }

  async sizeBytes(digest: Digest): Promise<number | null> {
    return (await stat(this.layout.content(digest)).catch(nullWhenMissing))?.size ?? null;
  }

  /** Removes content that was last touched before `cutoffMs` (Unix milliseconds); answers the bytes freed, null when it stays. */
  async removeUntouched(digest: Digest, cutoffMs: number): Promise<number | null> {
    return this.#lock.hold(digest, async () => {
      const path = this.layout.content(digest);
      const { mtimeMs, size } = await stat(path);
      if (mtimeMs >= cutoffMs) return null;
      await rm(path);
      return size;
    });
  }

  async *list(): AsyncGenerator<{ digest: Digest; sizeBytes: number; touchedAtMs: number }> {
    for (const shard of await readdir(this.layout.blobs).catch(emptyWhenMissing)) {
      for (const name of await readdir(join(this.layout.blobs, shard)).catch(emptyWhenMissing)) {
        const digest = `sha256:${name}`;
        if (!isValidDigest(digest)) continue;
        const found = await stat(this.layout.content(digest)).catch(nullWhenMissing);
        if (found !== null) yield { digest, sizeBytes: found.size, touchedAtMs: found.mtimeMs };
      }
    }
  }

  async #touch(digest: Digest): Promise<boolean> {
    const now = new Date();
    return (await utimes(this.layout.content(digest), now, now).catch(nullWhenMissing)) !== null;
  }
}

import { createHash, type Hash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '@berth/core';
import { isOutOfSpace, nullWhenMissing, RegistryError } from '../errors.js';
import { isValidRepositoryName, type RepositoryName, tenantOf } from '../names.js';
import { syncDirectory, writeDurably } from './durable.js';
import type { Layout } from './layout.js';

/** A blob on its way in. Its bytes are visible to nobody until it is committed. */
export interface Upload {
  readonly id: string;
  readonly repository: RepositoryName;
  /** How many bytes are here: where the next chunk must begin. */
  readonly offset: number;
}

/** What a request says about the bytes it brings; null: it does not say. */
export interface ChunkClaim {
  /** Of Content-Range: both inclusive. */
  readonly range: { readonly first: number; readonly last: number } | null;
}

export interface UploadLimits {
  readonly blobBytes: number;
  readonly uploadsPerTenant: number;
}

interface Progress {
  readonly repository: RepositoryName;
  touchedAtMs: number;
  offset: number;
  /** Over the bytes so far; null when it has to be computed again from the file. */
  hash: Hash | null;
  busy: boolean;
}

const batchBytes = 1024 * 1024;

/**
 * The uploads in progress, on disk, so that they survive a restart. Bytes go from the connection to the file in batches, hashed on the way;
 * memory per upload is two batches, whatever the blob's size.
 *
 * INVARIANT: `offset` is the length of the file, and `hash`, when there is one, is over exactly these bytes.
 */
export class UploadStore {
  readonly #progress = new Map<string, Progress>();

  private constructor(
    private readonly layout: Layout,
    private readonly limits: UploadLimits,
    private readonly nowMs: () => number,
  ) {}

  /** Finds the uploads that an earlier process left, and removes what is too broken to go on. */
  static async open(layout: Layout, limits: UploadLimits, nowMs: () => number): Promise<UploadStore> {
    const store = new UploadStore(layout, limits, nowMs);
    for (const id of await readdir(layout.uploads)) await store.#recover(id);
    return store;
  }

  async begin(repository: RepositoryName): Promise<Upload> {
    if (this.count(tenantOf(repository)) >= this.limits.uploadsPerTenant)
      throw new RegistryError('TOOMANYREQUESTS', 'too many uploads are open: finish or cancel some', { headers: { 'retry-after': '30' } });
    const id = randomUUID();
    // Counted before the first await, so that simultaneous requests cannot slip past the limit.
    this.#progress.set(id, { repository, touchedAtMs: this.nowMs(), offset: 0, hash: createHash('sha256'), busy: false });
    try {
      await mkdir(this.layout.upload(id), { mode: 0o700 });
      await writeDurably(this.layout.scratch, this.#session(id), JSON.stringify({ repository }));
      await (await open(this.#bytes(id), 'wx', 0o600)).close();
    } catch (error) {
      await this.#discard(id);
      throw error;
    }
    return { id, repository, offset: 0 };
  }

  /** null for an upload of another repository as for one that does not exist. */
  find(repository: RepositoryName, id: string): Upload | null {
    const progress = this.#progress.get(id);
    return progress?.repository === repository ? { id, repository, offset: progress.offset } : null;
  }

  /**
   * Appends what `body` brings and answers the new offset. When `body` fails, what came of it stays, and the client may resume from there;
   * when it disagrees with the claim, none of it does. A full disk ends the upload, so that it frees what it took.
   */
  async append(upload: Upload, body: AsyncIterable<Buffer>, claim: ChunkClaim): Promise<number> {
    return this.#exclusively(upload.id, async (progress) => {
      const { range } = claim;
      const start = progress.offset;
      if (range !== null && range.first !== start)
        throw new RegistryError('RANGE_INVALID', `the next chunk must begin at ${start}`, { headers: { range: rangeHeader(start) } });

      const hash = progress.hash ?? (await this.#rehash(upload.id));
      const before = hash.copy();
      progress.hash = null;
      const file = await open(this.#bytes(upload.id), 'r+');
      try {
        const limit = range === null ? this.limits.blobBytes : Math.min(this.limits.blobBytes, range.last + 1);
        try {
          progress.offset = await this.#copy(body, file, hash, start, limit);
        } catch (error) {
          if (!(error instanceof RegistryError)) throw error;
          await file.truncate(start);
          throw error;
        }
        if (range !== null && progress.offset !== range.last + 1) {
          await file.truncate(start);
          progress.offset = start;
          progress.hash = before;
          throw new RegistryError('SIZE_INVALID', `the body has another length than its Content-Range says`);
        }
        progress.hash = hash;
        return progress.offset;
      } catch (error) {
        if (isOutOfSpace(error)) await this.#discard(upload.id);
        else progress.offset = (await file.stat()).size;
        throw error;
      } finally {
        await file.close();
      }
    });
  }

  /** Hands the file, synced, to `adopt` when its bytes have this digest, and ends the upload. Bytes with another digest are of no use to anyone and go too. */
  async commit<T>(upload: Upload, digest: Digest, adopt: (path: string) => Promise<T>): Promise<T> {
    return this.#exclusively(upload.id, async (progress) => {
      const actual = `sha256:${(progress.hash ?? (await this.#rehash(upload.id))).copy().digest('hex')}`;
      if (actual !== digest) {
        await this.#discard(upload.id);
        throw new RegistryError('DIGEST_INVALID', 'the bytes received have another digest', {
          detail: { expected: digest, received: actual },
        });
      }
      const file = await open(this.#bytes(upload.id), 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
      try {
        return await adopt(this.#bytes(upload.id));
      } finally {
        // Also after a failure: the bytes may have moved already, and the client has them still.
        await this.#discard(upload.id);
      }
    });
  }

  async cancel(upload: Upload): Promise<void> {
    await this.#exclusively(upload.id, () => this.#discard(upload.id));
  }

  /** Ends the uploads that no request wrote to since `cutoffMs` (Unix milliseconds); answers how many. */
  async expire(cutoffMs: number): Promise<number> {
    const expired = [...this.#progress].filter(([, progress]) => !progress.busy && progress.touchedAtMs < cutoffMs);
    for (const [id] of expired) await this.#discard(id);
    return expired.length;
  }

  /** How many uploads are open, of one tenant's repositories or of all. */
  count(tenant: string | null): number {
    if (tenant === null) return this.#progress.size;
    let count = 0;
    for (const { repository } of this.#progress.values()) if (tenantOf(repository) === tenant) count += 1;
    return count;
  }

  /** Hashes and writes; the write of one batch overlaps the arrival of the next. Answers where the file ends. */
  async #copy(body: AsyncIterable<Buffer>, file: FileHandle, hash: Hash, start: number, limit: number): Promise<number> {
    let offset = start;
    let written = start;
    let batch: Buffer[] = [];
    let batched = 0;
    let writing: Promise<void> = Promise.resolve();
    const flush = async (): Promise<void> => {
      await writing;
      const [buffers, position] = [batch, written];
      written += batched;
      batch = [];
      batched = 0;
      writing = writeAll(file, buffers, position);
      // Awaited by the next flush; until then a failure must not count as unhandled.
      writing.catch(() => undefined);
    };
    try {
      for await (const chunk of body) {
        offset += chunk.length;
        if (offset > limit)
          throw new RegistryError('SIZE_INVALID', 'the body is longer than allowed', {
            status: limit === this.limits.blobBytes ? 413 : 400,
          });
        hash.update(chunk);
        batch.push(chunk);
        batched += chunk.length;
        if (batched >= batchBytes) await flush();
      }
    } catch (error) {
      // What came before the body broke off is kept for the client to resume.
      await flush();
      await writing;
      throw error;
    }
    await flush();
    await writing;
    return offset;
  }

  async #exclusively<T>(id: string, action: (progress: Progress) => Promise<T>): Promise<T> {
    const progress = this.#progress.get(id);
    if (progress === undefined) throw new RegistryError('BLOB_UPLOAD_UNKNOWN', 'there is no such upload');
    if (progress.busy) throw new RegistryError('BLOB_UPLOAD_INVALID', 'another request is writing to this upload', { status: 409 });
    progress.busy = true;
    try {
      return await action(progress);
    } finally {
      progress.busy = false;
      progress.touchedAtMs = this.nowMs();
    }
  }

  async #recover(id: string): Promise<void> {
    const repository = await this.#repositoryOf(id);
    const file = await stat(this.#bytes(id)).catch(nullWhenMissing);
    if (repository === null || file === null) await this.#discard(id);
    else this.#progress.set(id, { repository, touchedAtMs: file.mtimeMs, offset: file.size, hash: null, busy: false });
  }

  async #rehash(id: string): Promise<Hash> {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(this.#bytes(id), { highWaterMark: batchBytes })) hash.update(chunk as Buffer);
    return hash;
  }

  async #discard(id: string): Promise<void> {
    this.#progress.delete(id);
    await rm(this.layout.upload(id), { recursive: true, force: true });
    await syncDirectory(this.layout.uploads);
  }

  async #repositoryOf(id: string): Promise<RepositoryName | null> {
    const text = await readFile(this.#session(id), 'utf8').catch(nullWhenMissing);
    if (text === null) return null;
    const { repository } = JSON.parse(text) as { repository: string };
    return isValidRepositoryName(repository) ? repository : null;
  }

  #session(id: string): string {
    return join(this.layout.upload(id), 'session.json');
  }
  #bytes(id: string): string {
    return join(this.layout.upload(id), 'bytes');
  }
}

/** The specification's form of "so many bytes are here"; it cannot say zero. */
export function rangeHeader(offset: number): string {
  return `0-${Math.max(0, offset - 1)}`;
}

async function writeAll(file: FileHandle, buffers: readonly Buffer[], position: number): Promise<void> {
  if (buffers.length === 0) return;
  const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  const { bytesWritten } = await file.writev(buffers, position);
  if (bytesWritten === total) return;
  // A short write is the kernel's way to say that the disk is about to be full: the rest fails with the reason, or succeeds.
  let rest = Buffer.concat(buffers).subarray(bytesWritten);
  let at = position + bytesWritten;
  while (rest.length > 0) {
    const result = await file.write(rest, 0, rest.length, at);
    rest = rest.subarray(result.bytesWritten);
    at += result.bytesWritten;
  }
}

import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf } from '@berth/core';

/** Bytes that are gathered before they are written and told of: a call for every chunk of a socket costs more than the bytes do. */
const BATCH_BYTES = 256 * 1024;
const KEPT_MS = 24 * 60 * 60 * 1000;

/** Which bytes are being fetched, from where and for what. */
export interface PartialBlobKey {
  readonly registry: string;
  readonly digest: string;
  readonly diffId: string;
}

/**
 * A blob's first bytes in a file that grows. They are unverified: whoever reads the whole of it compares the digest. One writer at a time.
 */
export class PartialBlob {
  #heldBytes: number;

  constructor(
    readonly path: string,
    readonly resumedBytes: number,
    private readonly file: FileHandle,
    private readonly release: () => void,
  ) {
    this.#heldBytes = resumedBytes;
  }

  /**
   * Appends chunks and calls `held` with the length of the file after each batch, until the chunks end or it returns false. When the chunks throw, what came before is kept,
   * and the error is thrown on.
   */
  async fill(chunks: AsyncIterable<Buffer>, held: (bytes: number) => boolean): Promise<void> {
    let batch: Buffer[] = [];
    let batchBytes = 0;
    let wanted = this.#heldBytes === 0 || held(this.#heldBytes);
    let writing = Promise.resolve();
    const flush = async () => {
      // One write is under way while the next batch is gathered.
      await writing;
      if (batchBytes === 0) return;
      writing = this.#write(batch, batchBytes).then(() => {
        wanted = held(this.#heldBytes);
      });
      writing.catch(() => {});
      batch = [];
      batchBytes = 0;
    };
    try {
      for await (const chunk of chunks) {
        batch.push(chunk);
        batchBytes += chunk.length;
        if (batchBytes >= BATCH_BYTES) await flush();
        if (!wanted) break;
      }
    } finally {
      await flush();
      await writing;
    }
  }

  /** Ends the writing; the file stays, to be gone on with, or does not. */
  async close(outcome: 'keep' | 'remove'): Promise<void> {
    await this.file.close();
    if (outcome === 'remove') await rm(this.path, { force: true });
    this.release();
  }

  async #write(batch: readonly Buffer[], bytes: number): Promise<void> {
    const { bytesWritten } = await this.file.writev(batch, this.#heldBytes);
    if (bytesWritten !== bytes) throw new Error(`no space for ${this.path}`);
    this.#heldBytes += bytes;
  }
}

/**
 * Downloads that were cut, to be gone on with later, also by the next process. Each belongs to one registry: bytes of one are never completed by another, which
 * would thereby prove that it has bytes it never showed.
 */
export class PartialBlobs {
  readonly #dir: string;
  readonly #open = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Makes the directory, and removes what nobody came back for within a day. */
  async prepare(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const names = await readdir(this.#dir);
    const kept = await Promise.all(names.map(async (name) => (await stat(join(this.#dir, name))).mtimeMs > Date.now() - KEPT_MS));
    this.#removeAll(names.filter((_name, index) => !kept[index]));
  }

  /** The bytes held of a blob of `size`, none at first. Always less than all, so that going on asks the registry. */
  async open({ registry, digest, diffId }: PartialBlobKey, size: number): Promise<PartialBlob> {
    const hex = digestOf(`${registry} ${digest} ${diffId}`).slice('sha256:'.length);
    // A download that is being given up may not have let go yet.
    const name = this.#open.has(hex) ? `${hex}.${randomBytes(6).toString('hex')}` : hex;
    this.#open.add(name);
    try {
      const path = join(this.#dir, name);
      const file = await open(path, 'a+', 0o600).then(async (made) => {
        await made.close();
        return open(path, 'r+');
      });
      const held = Math.min((await file.stat()).size, size - 1);
      await file.truncate(held);
      return new PartialBlob(path, held, file, () => this.#open.delete(name));
    } catch (error) {
      this.#open.delete(name);
      throw error;
    }
  }

  /** Removes all that is not being written. */
  async clear(): Promise<void> {
    this.#removeAll(await readdir(this.#dir));
  }

  #removeAll(names: readonly string[]): void {
    for (const name of names) {
      // No await between the two: a download that begins meanwhile would lose its file.
      if (!this.#open.has(name)) rmSync(join(this.#dir, name), { force: true });
    }
  }
}

import { createReadStream } from 'node:fs';
import { type FileHandle, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { isValidDigest } from '@berth/core';
import { ImageError } from '../image-error.js';
import { type ArchiveEntry, indexTar, openArchive } from './tar-index.js';

/** A file within an archive or a folder. */
export interface ArchivedFile {
  readonly size: number;
  /** Anew for each reading. */
  open(): Readable;
}

const LINKS_MAX = 8;
const pieceBytes = 256 * 1024;

/** Named files, wherever they are: read where they stand, never unpacked. */
export abstract class ImageArchive {
  /** Null when there is no file of that name. */
  abstract find(name: string): Promise<ArchivedFile | null>;
  abstract close(): Promise<void>;

  /** A tar file (`docker save`, `podman save`, `skopeo copy` to oci-archive or docker-archive), or a folder with an OCI layout. */
  static async open(path: string): Promise<ImageArchive> {
    if ((await lstat(path)).isDirectory()) return new LayoutFolder(path);
    const file = await openArchive(path);
    try {
      return new TarArchive(file, await indexTar(file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** A whole file in memory. Throws `invalidManifest` when it is missing, `tooLarge` beyond `maxBytes`. */
  async read(name: string, maxBytes: number): Promise<Buffer> {
    const file = await this.find(name);
    if (file === null) throw new ImageError('invalidManifest', `the archive has no ${name}`);
    if (file.size > maxBytes) throw new ImageError('tooLarge', `${name} has ${file.size} bytes`);
    const chunks: Buffer[] = [];
    for await (const chunk of file.open()) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }

  /** The same as JSON. */
  async readJson(name: string, maxBytes: number): Promise<unknown> {
    const bytes = await this.read(name, maxBytes);
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (cause) {
      throw new ImageError('invalidManifest', `${name} is not JSON`, { cause });
    }
  }
}

/** Where an OCI layout has a blob (image-spec, image-layout.md). */
export function blobName(digest: string): string {
  if (!isValidDigest(digest)) throw new ImageError('invalidManifest', 'a digest in the archive is malformed');
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}

class TarArchive extends ImageArchive {
  constructor(
    private readonly file: FileHandle,
    private readonly entries: ReadonlyMap<string, ArchiveEntry>,
  ) {
    super();
  }

  override async find(name: string): Promise<ArchivedFile | null> {
    let entry = this.entries.get(name);
    for (let links = 0; entry?.kind === 'link'; links++) {
      if (links >= LINKS_MAX) throw new ImageError('layerRejected', `${name} of the archive leads from link to link`);
      entry = this.entries.get(entry.target);
    }
    if (entry === undefined) return null;
    const { offset, size } = entry;
    return { size, open: () => Readable.from(this.bytes(offset, size)) };
  }

  /** A stream over the descriptor itself would close it when it is destroyed, and with it the archive. */
  private async *bytes(offset: number, size: number): AsyncGenerator<Buffer> {
    for (let at = 0; at < size; ) {
      const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, size - at));
      const { bytesRead } = await this.file.read(buffer, 0, buffer.length, offset + at);
      if (bytesRead === 0) throw new ImageError('layerRejected', 'the archive became shorter while it was read');
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  }

  override close(): Promise<void> {
    return this.file.close();
  }
}

/** Only plain files: a link in the folder could show any file of the machine to the registry. */
class LayoutFolder extends ImageArchive {
  constructor(private readonly folder: string) {
    super();
  }

  override async find(name: string): Promise<ArchivedFile | null> {
    if (!/^(index\.json|oci-layout|manifest\.json|blobs\/sha256\/[0-9a-f]{64})$/.test(name)) return null;
    const path = join(this.folder, name);
    const found = await lstat(path).catch(() => null);
    if (found === null) return null;
    if (!found.isFile()) throw new ImageError('layerRejected', `${name} of the layout is not a plain file`);
    return { size: found.size, open: () => createReadStream(path) };
  }

  override async close(): Promise<void> {}
}

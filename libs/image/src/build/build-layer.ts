import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { digestOf } from '@berth/core';
import { TAR_END, tarHeader, tarPadding } from './tar-writer.js';

interface EntryBase {
  /** Absolute or relative to the root; `.` and empty parts are dropped. */
  readonly path: string;
  /** Default 0755 for directories and files with a host file that is executable, 0644 for other files. */
  readonly mode?: number;
  /** Default 0. */
  readonly uid?: number;
  /** Default 0. */
  readonly gid?: number;
}

/** What a layer is built of. */
export type LayerEntry =
  | (EntryBase & { readonly type: 'file'; readonly content: string | Uint8Array })
  | (EntryBase & { readonly type: 'file'; readonly hostFile: string })
  | (EntryBase & { readonly type: 'directory' })
  | (EntryBase & { readonly type: 'symlink'; readonly target: string })
  | (EntryBase & { readonly type: 'hardlink'; readonly target: string });

/** A layer ready to be pushed. */
export interface BuiltLayer {
  /** The gzipped archive. */
  readonly blob: Buffer;
  /** Digest of the blob. */
  readonly digest: string;
  /** Digest of the archive. */
  readonly diffId: string;
  /** Bytes of the blob. */
  readonly size: number;
}

const normalPath = (path: string): string => {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || parts.length === 0 || path.includes('\0')) throw new RangeError(`no path of a layer: ${path}`);
  return parts.join('/');
};

/** Entries by path, directories that they imply among them (0755, root's), parents first; of two with one path the later wins. */
function arrange(entries: Iterable<LayerEntry>): LayerEntry[] {
  const byPath = new Map<string, LayerEntry>();
  for (const entry of entries) byPath.set(normalPath(entry.path), { ...entry, path: normalPath(entry.path) });
  for (const path of [...byPath.keys()])
    for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1)) {
      const parent = path.slice(0, slash);
      if (!byPath.has(parent)) byPath.set(parent, { type: 'directory', path: parent });
    }
  const sorted = [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  // A hard link comes after everything it may point to.
  return [...sorted.filter(({ type }) => type !== 'hardlink'), ...sorted.filter(({ type }) => type === 'hardlink')];
}

async function* archive(entries: Iterable<LayerEntry>): AsyncGenerator<Buffer> {
  for (const entry of arrange(entries)) {
    const { path, type, uid = 0, gid = 0 } = entry;
    const host = type === 'file' && 'hostFile' in entry ? await stat(entry.hostFile) : undefined;
    const executable = type === 'directory' || (host !== undefined && (host.mode & 0o111) !== 0);
    const mode = entry.mode ?? (type === 'symlink' ? 0o777 : executable ? 0o755 : 0o644);
    const content = type === 'file' && 'content' in entry ? Buffer.from(entry.content) : undefined;
    const size = host?.size ?? content?.length ?? 0;
    const target = type === 'hardlink' ? normalPath(entry.target) : type === 'symlink' ? entry.target : undefined;
    // Times are left out: equal contents then make equal layers, which are shared.
    yield tarHeader({ path, type, mode, uid, gid, size, mtime: 0, target });
    if (content) yield content;
    if (type === 'file' && 'hostFile' in entry) yield* exactly(entry.hostFile, size);
    yield tarPadding(size);
  }
  yield TAR_END;
}

async function* exactly(path: string, size: number): AsyncGenerator<Buffer> {
  let length = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    length += (chunk as Buffer).length;
    yield chunk as Buffer;
  }
  if (length !== size) throw new Error(`${path} changed while it was read`);
}

async function* hashed(chunks: AsyncIterable<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/**
 * Builds a gzipped layer in memory. Deterministic: the same entries, in whatever order, give the same digests on the same Node.js version (the
 * diff id on any). Throws a RangeError for a path with `..`.
 */
export async function buildLayer(entries: Iterable<LayerEntry>): Promise<BuiltLayer> {
  const diff = createHash('sha256');
  const chunks: Buffer[] = [];
  await pipeline(hashed(archive(entries), diff), createGzip({ level: 6 }), async (gzipped: AsyncIterable<Buffer>) => {
    for await (const chunk of gzipped) chunks.push(chunk);
  });
  const blob = Buffer.concat(chunks);
  return { blob, digest: digestOf(blob), diffId: `sha256:${diff.digest('hex')}`, size: blob.length };
}

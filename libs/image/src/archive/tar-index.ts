import { type FileHandle, open } from 'node:fs/promises';
import { posix } from 'node:path';
import { ImageError } from '../image-error.js';

/** What stands in an archive under a name. */
export type ArchiveEntry =
  | { readonly kind: 'file'; readonly offset: number; readonly size: number }
  | { readonly kind: 'link'; readonly target: string };

const BLOCK = 512;
/** An image of the most layers that Berth reads needs about two entries for each. */
const ENTRIES_MAX = 20_000;
const LONG_NAME_MAX = 64 * 1024;

const rejected = (what: string): never => {
  throw new ImageError('layerRejected', `the archive is not as it should be: ${what}`);
};

/** A number in a header: octal digits, or binary where the first bit is set (GNU tar, "base-256"). */
function numberOf(block: Buffer, at: number, width: number): number {
  const field = block.subarray(at, at + width);
  if (((field[0] ?? 0) & 0x80) === 0) {
    const text = field
      .toString('latin1')
      .replace(/\0[\s\S]*$/, '')
      .trim();
    return /^[0-7]*$/.test(text) ? Number.parseInt(text || '0', 8) : rejected('a header holds a malformed number');
  }
  let value = (field[0] ?? 0) & 0x7f;
  for (const byte of field.subarray(1)) value = value * 256 + byte;
  return Number.isSafeInteger(value) ? value : rejected('an entry is larger than any file');
}

function textOf(block: Buffer, at: number, width: number): string {
  const field = block.subarray(at, at + width);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? width : end).toString('utf8');
}

/** `path`, `linkpath` and `size` of a pax header (IEEE 1003.1, "pax Extended Header"); others say nothing of where content stands. */
function paxOf(body: Buffer): { path?: string; linkpath?: string; size?: number } {
  const found: { path?: string; linkpath?: string; size?: number } = {};
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const length = Number(body.subarray(at, space < 0 ? at : space).toString('latin1'));
    if (!Number.isSafeInteger(length) || length <= space - at + 1 || at + length > body.length)
      return rejected('a pax header is malformed');
    const record = body.subarray(space + 1, at + length - 1).toString('utf8');
    const [key, value] = [record.slice(0, record.indexOf('=')), record.slice(record.indexOf('=') + 1)];
    if (key === 'path' || key === 'linkpath') found[key] = value;
    if (key === 'size') found.size = /^[0-9]{1,15}$/.test(value) ? Number(value) : rejected('a pax header has a malformed size');
    if (key.startsWith('GNU.sparse')) return rejected('sparse entries are not read');
    at += length;
  }
  return found;
}

/** The name within the archive, or null for one that leads out of it: such an entry can be nothing that an image needs. */
function normalized(name: string): string | null {
  const path = posix.normalize(name.replace(/^\/+/, '')).replace(/\/$/, '');
  return path === '..' || path.startsWith('../') || path.includes('\0') ? null : path;
}

/**
 * The entries of a tar file by name: where each file's bytes are. Nothing is unpacked, so names lead nowhere. Symbolic and hard links lead to other names of
 * the archive. Throws `layerRejected` for what is no archive, is cut off, or has a name twice, and `tooLarge` for too many entries.
 */
export async function indexTar(file: FileHandle): Promise<ReadonlyMap<string, ArchiveEntry>> {
  const { size: length } = await file.stat();
  const entries = new Map<string, ArchiveEntry>();
  const block = Buffer.alloc(BLOCK);
  let next: { path?: string; linkpath?: string; size?: number } = {};
  for (let at = 0, count = 0; ; count++) {
    if (count > ENTRIES_MAX) throw new ImageError('tooLarge', `the archive has more than ${ENTRIES_MAX} entries`);
    const { bytesRead } = await file.read(block, 0, BLOCK, at);
    if (bytesRead < BLOCK) return rejected(count === 0 ? 'it is no tar file' : 'it ends early');
    if (block.every((byte) => byte === 0)) return entries;
    checkSum(block, count === 0);
    const flag = String.fromCharCode(block[156] ?? 0);
    const size = flag === '1' || flag === '2' || flag === '5' ? 0 : (next.size ?? numberOf(block, 124, 12));
    const offset = at + BLOCK;
    at = offset + Math.ceil(size / BLOCK) * BLOCK;
    if (offset + size > length) return rejected('it ends early');
    if (flag === 'x' || flag === 'L' || flag === 'K') {
      if (size > LONG_NAME_MAX) throw new ImageError('tooLarge', 'a name in the archive is longer than any path');
      const body = Buffer.alloc(size);
      await file.read(body, 0, size, offset);
      if (flag === 'x') next = { ...next, ...paxOf(body) };
      else next = { ...next, [flag === 'L' ? 'path' : 'linkpath']: textOf(body, 0, size) };
      continue;
    }
    if (flag === 'g') continue;
    if (flag === 'S') return rejected('sparse entries are not read');
    const prefix = block.toString('latin1', 257, 262) === 'ustar' && block[262] === 0 ? textOf(block, 345, 155) : '';
    const name = normalized(next.path ?? (prefix === '' ? textOf(block, 0, 100) : `${prefix}/${textOf(block, 0, 100)}`));
    const target = next.linkpath ?? textOf(block, 157, 100);
    next = {};
    if (name === null || flag === '5') continue;
    const entry = entryOf(flag, name, { offset, size }, target);
    if (entry === null) continue;
    if (entries.has(name)) return rejected(`it has ${JSON.stringify(name)} twice`);
    entries.set(name, entry);
  }
}

function entryOf(flag: string, name: string, place: { offset: number; size: number }, target: string): ArchiveEntry | null {
  if (flag === '0' || flag === '\0' || flag === '7') return { kind: 'file', ...place };
  // A hard link names its target from the archive's root, a symbolic one from where it stands.
  const path = flag === '1' ? normalized(target) : flag === '2' ? normalized(posix.join(posix.dirname(name), target)) : null;
  return path === null || (flag === '2' && target.startsWith('/')) ? null : { kind: 'link', target: path };
}

function checkSum(block: Buffer, isFirst: boolean): void {
  let sum = 8 * 0x20;
  for (let index = 0; index < BLOCK; index++) if (index < 148 || index >= 156) sum += block[index] ?? 0;
  const told = Number.parseInt(block.toString('latin1', 148, 156).trim(), 8);
  if (told !== sum) rejected(isFirst ? 'it is no tar file' : 'a header is damaged');
}

/** Opens a file for `indexTar`; says what to do with a compressed one. */
export async function openArchive(path: string): Promise<FileHandle> {
  const file = await open(path, 'r');
  const head = Buffer.alloc(4);
  await file.read(head, 0, 4, 0);
  const name = head[0] === 0x1f && head[1] === 0x8b ? 'gunzip' : head.readUInt32LE(0) === 0xfd2fb528 ? 'unzstd' : null;
  if (name === null) return file;
  await file.close();
  throw new ImageError('unsupportedMediaType', `${path} is compressed as a whole: ${name} it first`);
}

/** An entry of an archive, its metadata resolved. */
export interface TarHeader {
  /** Without leading slash; a directory's without trailing one. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'hardlink';
  /** Permission, set-id and sticky bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow; 0 for all but files. */
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Of links. */
  readonly target?: string | undefined;
}

const BLOCK = 512;
const TYPE_FLAGS = { file: '0', hardlink: '1', symlink: '2', directory: '5' } as const;

/** The archive's end: two blocks of zeros. */
export const TAR_END: Buffer = Buffer.alloc(2 * BLOCK);

/** The zeros that fill an entry's last block. */
export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`;
const fitsOctal = (value: number, width: number): boolean => value < 8 ** (width - 1);

/** Splits a path into ustar's prefix and name, or gives undefined where it does not fit (IEEE 1003.1, pax, "ustar Interchange Format"). */
function splitPath(path: Buffer): { prefix: Buffer; name: Buffer } | undefined {
  if (path.length <= 100) return { prefix: Buffer.alloc(0), name: path };
  const slash = path.indexOf('/', path.length - 101);
  if (slash <= 0 || slash > 155 || slash === path.length - 1) return undefined;
  return { prefix: path.subarray(0, slash), name: path.subarray(slash + 1) };
}

function ustar(header: Omit<TarHeader, 'path' | 'type' | 'target'>, flag: string, prefix: Buffer, name: Buffer, link: Buffer): Buffer {
  const block = Buffer.alloc(BLOCK);
  name.copy(block, 0);
  block.write(octal(header.mode, 8), 100, 'latin1');
  block.write(octal(header.uid, 8), 108, 'latin1');
  block.write(octal(header.gid, 8), 116, 'latin1');
  block.write(octal(header.size, 12), 124, 'latin1');
  block.write(octal(header.mtime, 12), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(flag, 156, 'latin1');
  link.copy(block, 157);
  block.write('ustar\x0000', 257, 'latin1');
  prefix.copy(block, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** "LENGTH KEY=VALUE\n", whose length counts its own digits. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.concat([Buffer.from(`${length}`), rest]);
}

/**
 * The blocks that precede an entry's content: a ustar header, and before it a pax header where something does not fit one. Equal entries give
 * equal bytes.
 */
export function tarHeader(entry: TarHeader): Buffer {
  const path = Buffer.from(entry.type === 'directory' ? `${entry.path}/` : entry.path);
  const link = Buffer.from(entry.target ?? '');
  const records: Buffer[] = [];
  let split = splitPath(path);
  if (!split) {
    records.push(paxRecord('path', path.toString()));
    split = { prefix: Buffer.alloc(0), name: path.subarray(0, 100) };
  }
  if (link.length > 100) records.push(paxRecord('linkpath', link.toString()));
  const numbers = { mode: entry.mode, uid: entry.uid, gid: entry.gid, size: entry.size, mtime: entry.mtime };
  for (const [key, width] of [
    ['uid', 8],
    ['gid', 8],
    ['size', 12],
    ['mtime', 12],
  ] as const) {
    if (fitsOctal(numbers[key], width)) continue;
    records.push(paxRecord(key, String(numbers[key])));
    numbers[key] = 0;
  }
  const main = ustar(numbers, TYPE_FLAGS[entry.type], split.prefix, split.name, link.subarray(0, 100));
  if (records.length === 0) return main;
  const body = Buffer.concat(records);
  const name = Buffer.from('PaxHeaders/entry');
  const pax = ustar({ mode: 0o644, uid: 0, gid: 0, size: body.length, mtime: 0 }, 'x', Buffer.alloc(0), name, Buffer.alloc(0));
  return Buffer.concat([pax, body, tarPadding(body.length), main]);
}

/** One entry of an archive, exactly as its author wants it: nothing is checked, everything may be a lie. */
export interface RawEntry {
  readonly name: string | Buffer;
  /** ustar's type flag; default a regular file. */
  readonly type?: string;
  readonly link?: string | Buffer;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** As stated; default the content's. */
  readonly size?: number;
  readonly mtime?: number;
  readonly content?: string | Buffer;
  readonly prefix?: string;
  /** Records of a pax header before the entry, values raw. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
  /** Bytes to set in the finished header after its checksum was made good again. */
  readonly patch?: (header: Buffer) => void;
}

const BLOCK = 512;
export const END: Buffer = Buffer.alloc(2 * BLOCK);

const padded = (content: Buffer): Buffer => Buffer.concat([content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);

/** Makes a header's checksum right. */
export function seal(header: Buffer): Buffer {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

export function paxRecords(records: Readonly<Record<string, string | Buffer>>): Buffer {
  return Buffer.concat(
    Object.entries(records).map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')]);
      let length = rest.length;
      while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
      return Buffer.concat([Buffer.from(`${length}`), rest]);
    }),
  );
}

function header(entry: RawEntry, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, width: number) =>
    `${Math.trunc(value)
      .toString(8)
      .padStart(width - 1, '0')}\0`;
  Buffer.from(entry.name as string).copy(block, 0, 0, 100);
  block.write(octal(entry.mode ?? 0o644, 8), 100, 'latin1');
  block.write(octal(entry.uid ?? 0, 8), 108, 'latin1');
  block.write(octal(entry.gid ?? 0, 8), 116, 'latin1');
  block.write(octal(size, 12), 124, 'latin1');
  block.write(octal(entry.mtime ?? 0, 12), 136, 'latin1');
  block.write(entry.type ?? '0', 156, 'latin1');
  Buffer.from((entry.link ?? '') as string).copy(block, 157, 0, 100);
  block.write('ustar\x0000', 257, 'latin1');
  block.write(entry.prefix ?? '', 345, 155, 'latin1');
  seal(block);
  if (entry.patch) {
    entry.patch(block);
    seal(block);
  }
  return block;
}

/** The blocks of one entry, its pax header included. */
export function rawEntry(entry: RawEntry): Buffer {
  const content = Buffer.from((entry.content ?? '') as string);
  const main = Buffer.concat([header(entry, entry.size ?? content.length), padded(content)]);
  if (!entry.pax) return main;
  return Buffer.concat([rawEntry({ name: 'PaxHeaders/x', type: 'x', content: paxRecords(entry.pax) }), main]);
}

export const rawTar = (...entries: RawEntry[]): Buffer => Buffer.concat([...entries.map(rawEntry), END]);

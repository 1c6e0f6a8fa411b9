/** What an ELF program or library wants from the loader (System V ABI, "Dynamic Section"). */
export interface ElfDependencies {
  readonly machine: number;
  /** Path of the program's interpreter (PT_INTERP). */
  readonly interpreter: string | undefined;
  /** Names or paths of the libraries (DT_NEEDED). */
  readonly needed: readonly string[];
  /** Directories searched before the system's, `$ORIGIN` as written; DT_RUNPATH, or DT_RPATH where there is none. */
  readonly runpath: readonly string[];
  /** The library's own name (DT_SONAME). */
  readonly soname: string | undefined;
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_SONAME = 14;
const DT_RPATH = 15;
const DT_RUNPATH = 29;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
}

const textAt = (bytes: Buffer, offset: number): string => {
  const end = bytes.indexOf(0, offset);
  return bytes.toString('utf8', offset, end < 0 ? bytes.length : end);
};

function segmentsOf(bytes: Buffer): Segment[] {
  const start = Number(bytes.readBigUInt64LE(32));
  const entrySize = bytes.readUInt16LE(54);
  const count = bytes.readUInt16LE(56);
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * entrySize;
    return {
      type: bytes.readUInt32LE(at),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      address: Number(bytes.readBigUInt64LE(at + 16)),
      fileSize: Number(bytes.readBigUInt64LE(at + 32)),
    };
  });
}

/** Reads a 64-bit little-endian ELF file; undefined for any other file (a script, say). Throws a RangeError when it is cut short. */
export function parseElf(bytes: Buffer): ElfDependencies | undefined {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return undefined;
  const segments = segmentsOf(bytes);
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  const tags: { tag: number; value: number }[] = [];
  for (let at = dynamic?.offset ?? 0, end = at + (dynamic?.fileSize ?? 0); at + 16 <= end; at += 16)
    tags.push({ tag: Number(bytes.readBigInt64LE(at)), value: Number(bytes.readBigUInt64LE(at + 8)) });
  const tableAddress = tags.find(({ tag }) => tag === DT_STRTAB)?.value ?? 0;
  const holder = segments.find(
    ({ type, address, fileSize }) => type === PT_LOAD && tableAddress >= address && tableAddress < address + fileSize,
  );
  const table = holder ? holder.offset + (tableAddress - holder.address) : 0;
  const texts = (wanted: number) => tags.filter(({ tag }) => tag === wanted).map(({ value }) => textAt(bytes, table + value));
  const runpath = texts(DT_RUNPATH);
  return {
    machine: bytes.readUInt16LE(18),
    interpreter: interpreter ? textAt(bytes, interpreter.offset) : undefined,
    needed: texts(DT_NEEDED),
    runpath: (runpath.length > 0 ? runpath : texts(DT_RPATH)).flatMap((list) => list.split(':')),
    soname: texts(DT_SONAME)[0],
  };
}

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isSanitized, nativeDir } from './bundle.js';

/** The parts of an ELF file (elf(5), 64 bits, little-endian) that tell how it was hardened. */
function readElf(path: string) {
  const bytes = readFileSync(path);
  const [offset, size, count] = [Number(bytes.readBigUInt64LE(32)), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  const segments = Array.from({ length: count }, (_, index) => {
    const at = offset + index * size;
    return {
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      start: Number(bytes.readBigUInt64LE(at + 8)),
      length: Number(bytes.readBigUInt64LE(at + 32)),
    };
  });
  const dynamic = segments.find(({ type }) => type === SEGMENT.dynamic);
  const tags = new Map<number, bigint>();
  for (let at = dynamic?.start ?? 0; dynamic && at < dynamic.start + dynamic.length; at += 16)
    tags.set(Number(bytes.readBigUInt64LE(at)), bytes.readBigUInt64LE(at + 8));
  return { kind: bytes.readUInt16LE(16), segments, tags, bytes };
}

const SEGMENT = { load: 1, dynamic: 2, interpreter: 3, stack: 0x6474e551, relro: 0x6474e552 } as const;
const TAG = { needed: 1, rpath: 15, flags: 30, runpath: 29, textRelocations: 22, flags1: 0x6ffffffb } as const;
const [WRITE, EXECUTE] = [2, 1];

describe.skipIf(isSanitized)('the programs, as they are released', () => {
  const programs = readdirSync(nativeDir).filter((name) => name.startsWith('berth-') && name !== 'berth-probe');

  it.each(programs)('%s is position independent, static, and read-only wherever it can be', (name) => {
    const { kind, segments, tags } = readElf(join(nativeDir, name));
    const DYN = 3;
    expect(kind).toBe(DYN);
    expect(segments.some(({ type }) => type === SEGMENT.interpreter)).toBe(false);
    for (const tag of [TAG.needed, TAG.rpath, TAG.runpath, TAG.textRelocations]) expect(tags.has(tag)).toBe(false);
    expect(segments.some(({ type }) => type === SEGMENT.relro)).toBe(true);
    // Everything is bound before main, so that the whole table is read-only by then.
    const bindsNow = Number(tags.get(TAG.flags) ?? 0n) & 8 || Number(tags.get(TAG.flags1) ?? 0n) & 1;
    expect(bindsNow).toBeTruthy();
    const stack = segments.find(({ type }) => type === SEGMENT.stack);
    expect(stack && (stack.flags & EXECUTE) === 0).toBe(true);
    for (const { flags } of segments.filter(({ type }) => type === SEGMENT.load)) expect(flags & WRITE && flags & EXECUTE).toBe(0);
  });

  it.each(programs)('%s marks its branch targets and guards its stack', (name) => {
    const { bytes } = readElf(join(nativeDir, name));
    const endbr64 = Buffer.from('f30f1efa', 'hex');
    let marks = 0;
    for (let at = bytes.indexOf(endbr64); at >= 0; at = bytes.indexOf(endbr64, at + 4)) marks += 1;
    expect(marks).toBeGreaterThan(0);
    // The canary's place, %fs:0x28, as an operand: what a guarded function ends with.
    expect(bytes.includes(Buffer.from('2528000000', 'hex'))).toBe(true);
  });

  it('tells them from programs that are not: the shell that runs this has an interpreter', () => {
    expect(readElf(process.execPath).segments.some(({ type }) => type === SEGMENT.interpreter)).toBe(true);
  });
});

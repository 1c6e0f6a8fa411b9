import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, deflateRawSync, gzipSync } from 'node:zlib';
import { digestOf } from '@berth/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRoot, LayerFixture, layerForms, runLayer } from './layer-fixture.js';
import { rawTar } from './raw-tar.js';

/** Bytes that compress a little, a lot and not at all, with repeats as far apart as deflate can reach. */
function mixture(length: number): Buffer {
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return seed >>> 8;
  };
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const run = 1 + (random() % 600);
    const kind = random() % 4;
    const far = 1 + (random() % Math.min(40_000, at + 1));
    for (let index = 0; index < run && at < length; index++, at++)
      bytes[at] = kind === 0 ? random() : kind === 1 ? 97 + (random() % 7) : kind === 2 ? 0 : (bytes[at - far] ?? 0);
  }
  return bytes;
}

/** A gzip member with the header's optional fields, RFC 1952. */
function dressed(bytes: Buffer, level: number): Buffer {
  const head = Buffer.concat([
    Buffer.from('1f8b081e0000000000ff', 'hex'),
    Buffer.from('0300616263', 'hex'),
    Buffer.from('name\0comment\0'),
    Buffer.from('0000', 'hex'),
  ]);
  return Buffer.concat([head, deflateRawSync(bytes, { level }), gzipSync(bytes).subarray(-8)]);
}

/** A zstd frame of blocks as they are, and one of a byte that repeats, RFC 8878. */
function zstdFrame(bytes: Buffer): Buffer {
  const head = Buffer.from('28b52ffda000000000', 'hex');
  head.writeUInt32LE(bytes.length, 5);
  const blocks: Buffer[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += 1 << 17) {
    const part = bytes.subarray(at, at + (1 << 17));
    const uniform = part.length > 0 && part.every((byte) => byte === part[0]);
    const block = Buffer.alloc(3);
    block.writeUIntLE((at + (1 << 17) >= bytes.length ? 1 : 0) | (uniform ? 2 : 0) | (part.length << 3), 0, 3);
    blocks.push(block, uniform ? part.subarray(0, 1) : part);
  }
  return Buffer.concat([head, ...blocks]);
}

// `printf 'abc%.0s' $(seq 1000) | zstd -19 --no-check`: a block that is really compressed.
const ABC = Buffer.from('28b52ffd0068550000186162630100b2d37743', 'hex');

describe.skipIf(!isRoot)('a compressed layer', () => {
  const tar = rawTar({ name: 'mixture', content: mixture(1_500_000) }, { name: 'zeros', content: Buffer.alloc(700_000) });
  const diffId = digestOf(tar);
  let fixture: LayerFixture;
  let count = 0;
  beforeAll(async () => {
    fixture = await LayerFixture.make();
  });
  afterAll(() => fixture.dispose());

  const pack = async (blob: Buffer, ...options: string[]) => {
    const own = join(fixture.root, `${count++}`);
    await mkdir(own);
    const outcome = await runLayer(['pack', '--image', join(own, 'image'), ...options], blob);
    expect(await readdir(own)).toEqual(outcome.status === 0 ? ['image'] : []);
    return outcome.answer;
  };
  const gzip = (blob: Buffer) => pack(blob, '--compression', 'gzip');

  const blobs: [string, Buffer][] = [
    ...[0, 1, 2, 4, 6, 9].map((level): [string, Buffer] => [`gzip level ${level}`, gzipSync(tar, { level })]),
    ['gzip with fixed codes', gzipSync(tar, { strategy: constants.Z_FIXED })],
    ['gzip with no matches', gzipSync(tar, { strategy: constants.Z_HUFFMAN_ONLY })],
    ['gzip with runs alone', gzipSync(tar, { strategy: constants.Z_RLE })],
    ['gzip with small windows and memory', gzipSync(tar, { windowBits: 9, memLevel: 1 })],
    ['gzip with every field of the header', dressed(tar, 6)],
    ['gzip in several members', Buffer.concat([0, 1000, 1_000_000].map((at, index, all) => gzipSync(tar.subarray(at, all[index + 1]))))],
    ['gzip with empty members', Buffer.concat([gzipSync(Buffer.alloc(0)), gzipSync(tar), gzipSync(Buffer.alloc(0))])],
    ['gzip with many flushes', Buffer.concat([gzipSync(tar, { flush: constants.Z_FULL_FLUSH })])],
  ];

  it.each(blobs)('is read: %s', async (_what, blob) => {
    expect(await gzip(blob)).toMatchObject({ diffId, blobDigest: digestOf(blob) });
  });

  it('is read: zstd, with skippable frames', async () => {
    const skipped = Buffer.from('502a4d18040000006f6f6f6f', 'hex');
    const blob = Buffer.concat([skipped, zstdFrame(tar.subarray(0, 5000)), zstdFrame(tar.subarray(5000)), skipped]);
    expect(await pack(blob, '--compression', 'zstd')).toMatchObject({ diffId, blobDigest: digestOf(blob) });
  });

  it('is read: nothing at all, uncompressed', async () => {
    expect(await pack(Buffer.alloc(0))).toMatchObject({ entries: 0, diffId: digestOf(Buffer.alloc(0)) });
  });

  it('is refused wherever it is cut, and for anything after its end', async () => {
    const small = gzipSync(rawTar({ name: 'a', content: mixture(3000) }));
    for (let length = 0; length < small.length; length += length < 40 || length > small.length - 20 ? 1 : 97)
      expect(await gzip(small.subarray(0, length)), `${length}`).toMatchObject({ error: 'layerRejected' });
    for (const tail of ['x', '\0', '\0'.repeat(3000), '\x1f', '\x1f\x8b\x08'])
      expect(await gzip(Buffer.concat([small, Buffer.from(tail, 'latin1')]))).toMatchObject({ error: 'layerRejected' });
    const frame = zstdFrame(rawTar({ name: 'a', content: 'x' }));
    for (const length of [0, 3, 8, 9, 12, frame.length - 1])
      expect(await pack(frame.subarray(0, length), '--compression', 'zstd')).toMatchObject({ error: 'layerRejected' });
    expect(await pack(Buffer.concat([frame, Buffer.from('x')]), '--compression', 'zstd')).toMatchObject({ error: 'layerRejected' });
  }, 60_000);

  it('is refused, and never a crash, with bytes changed at will', async () => {
    const whole = gzipSync(rawTar({ name: 'a', content: mixture(40_000) }, { name: 'b', content: Buffer.alloc(3000) }));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), async (edits) => {
        const blob = Buffer.from(whole);
        for (const [at, byte] of edits) blob[at] = byte;
        const { error } = await gzip(blob);
        expect([undefined, 'layerRejected', 'tooLarge']).toContain(error);
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  it('is refused when it wants more memory than a decoder must have', async () => {
    const giant = Buffer.from('28b52ffd00a8', 'hex');
    expect(await pack(Buffer.concat([giant, Buffer.alloc(100)]), '--compression', 'zstd')).toMatchObject({ error: 'tooLarge' });
  });

  it('is told from one whose bytes are not those of its digests, before all else', async () => {
    const blob = gzipSync(tar);
    const other = digestOf(Buffer.from('other'));
    expect(await pack(blob, '--compression', 'gzip', '--blob', digestOf(blob), '--diff-id', diffId)).toMatchObject({ diffId });
    expect(await pack(blob, '--compression', 'gzip', '--blob', other)).toMatchObject({ error: 'digestMismatch' });
    expect(await pack(blob, '--compression', 'gzip', '--diff-id', other)).toMatchObject({ error: 'digestMismatch' });
    const junk = Buffer.alloc(3_000_000, 'junk');
    expect(await pack(junk, '--compression', 'gzip', '--blob', other)).toMatchObject({ error: 'digestMismatch' });
    expect(await pack(junk, '--compression', 'gzip', '--blob', digestOf(junk))).toMatchObject({ error: 'layerRejected' });
    expect(await pack(junk, '--compression', 'brotli')).toMatchObject({ error: 'usage' });
  });

  it.each(layerForms)('comes out the same: $form', async ({ make }) => {
    const own = join(fixture.root, `form-${count++}`);
    await mkdir(own);
    const { answer } = await runLayer([...make(own), '--compression', 'zstd'], zstdFrame(tar));
    expect(answer.diffId).toBe(diffId);
    if (make(own)[0] === 'unpack') expect((await readFile(join(own, 'mixture'))).equals(mixture(1_500_000))).toBe(true);
  });

  it('reads blocks that zstd compressed', async () => {
    expect(await pack(ABC, '--compression', 'zstd')).toMatchObject({
      error: 'layerRejected',
      message: expect.stringContaining('no tar archive'),
    });
  });
});

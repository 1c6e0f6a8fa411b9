import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CrashRig } from '../testing/crash-rig.js';
import type { ContentStore } from './content-store.js';

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)('a store after the machine stopped', () => {
  let rig: CrashRig;
  let digest: string;
  /** Of the two layers of the image, as the first boot made them. */
  let layers: readonly string[];
  let store: ContentStore;
  beforeAll(async () => {
    rig = await CrashRig.start();
  });
  afterAll(() => rig.stop());
  beforeEach(async () => {
    await rm(join(rig.dir, 'store'), { recursive: true, force: true });
    const [image] = rig.images;
    if (image === undefined) throw new Error('the rig has no image');
    digest = image.manifestDigest;
    store = await rig.open('store', 'first');
    await rig.pullInto(store, image);
    await store.sealed();
    layers = store.layerIds();
  });

  const pathOf = (diffId = layers[0] ?? ''): string => store.layerPath(diffId);
  async function pull(into: ContentStore): Promise<void> {
    for (const image of rig.images.slice(0, 1)) await rig.pullInto(into, image);
  }

  it('shows no image until each of its layers was read, and then uses them as they are', async () => {
    const after = await rig.open('store', 'second');
    expect(after.image(digest)).toBeUndefined();
    expect(after.hasAll(digest)).toBe(false);
    await after.checked(layers);
    expect(after.image(digest)?.layers).toHaveLength(2);
    await rig.check(after);
  });

  it('removes a layer of which a byte is another, and pulls it again', async () => {
    await flipByte(pathOf());
    const after = await rig.open('store', 'second');
    await after.checked(layers);
    expect(after.layerIds()).toEqual(layers.slice(1));
    expect(after.images()).toEqual([]);
    await pull(after);
    expect(after.image(digest)?.layers).toHaveLength(2);
    await rig.check(after);
  });

  it('lets a pull that comes first wait for the check', async () => {
    await flipByte(pathOf());
    const after = await rig.open('store', 'second');
    await pull(after);
    await rig.check(after);
  });

  it('reads all layers without being asked to', async () => {
    await flipByte(pathOf());
    const after = await rig.open('store', 'second');
    await expect.poll(() => after.layerIds(), { timeout: 20_000 }).toEqual(layers.slice(1));
  });

  it('takes a layer without a seal for spoilt', async () => {
    await rm(join(pathOf(), '../image.sha256'));
    const after = await rig.open('store', 'second');
    await after.checked(layers);
    expect(after.layerIds()).toEqual(layers.slice(1));
  });

  it('still doubts what an agent that died in the middle of the check had not read', async () => {
    const boot = join(rig.dir, 'store/boot.json');
    await writeFile(boot, JSON.stringify({ bootId: 'second', closed: false, unchecked: layers.slice(0, 1) }));
    await flipByte(pathOf());
    const after = await rig.open('store', 'second');
    expect(after.hasAll(digest)).toBe(false);
    await after.checked(layers);
    expect(after.layerIds()).toEqual(layers.slice(1));
    expect(JSON.parse(await readFile(boot, 'utf8'))).toEqual({ bootId: 'second', closed: false, unchecked: [] });
  });

  it('has its images at once when it was closed, or when only the agent died', async () => {
    expect((await rig.open('store', 'first')).hasAll(digest)).toBe(true);
    await store.close();
    expect((await rig.open('store', 'second')).hasAll(digest)).toBe(true);
  });
});

/** As a disk does that lost power, in the middle of a file's content. */
async function flipByte(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, 500_000);
    byte.writeUInt8(byte.readUInt8() ^ 1);
    await file.write(byte, 0, 1, 500_000);
  } finally {
    await file.close();
  }
}

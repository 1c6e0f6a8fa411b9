import { readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CrashRig } from '../testing/crash-rig.js';
import { isRoot } from '../testing/native-program.js';

/** `npm run crash` does as many as it is told to. */
const kills = 8;

describe.skipIf(!isRoot)('a store whose process dies', () => {
  let rig: CrashRig;
  beforeEach(async () => {
    rig = await CrashRig.start();
  });
  afterEach(() => rig.stop());

  it(`is sound after each of ${kills} kills in the middle of pulls and collections`, async () => {
    for (let seed = 1; seed <= kills; seed++) await rig.trial(seed);
    const store = await rig.open();
    for (const image of rig.images) {
      await rig.pullInto(store, image);
      expect(store.hasAll(image.manifestDigest)).toBe(true);
    }
    await rig.check(store);
  }, 120_000);

  it('is not called sound when a byte of a layer is wrong', async () => {
    const store = await rig.open();
    for (const image of rig.images) await rig.pullInto(store, image);
    const [first = ''] = store.layerIds();
    await truncate(store.layerPath(first), 100_000);
    await expect(rig.check(await rig.open())).rejects.toThrow(`layer ${first} is not what it should be`);
  });

  it('pulls again what a power cut left without its record', async () => {
    const [image] = rig.images;
    if (image === undefined) throw new Error('the rig has no image');
    await rig.pullInto(await rig.open(), image);
    const [first = ''] = await readdir(join(rig.dir, 'store/layers'));
    await truncate(join(rig.dir, 'store/layers', first, 'layer.json'));
    const store = await rig.open();
    expect(store.layerIds()).toHaveLength(1);
    expect(store.image(image.manifestDigest)).toBeUndefined();
    await rig.pullInto(store, image);
    expect(store.image(image.manifestDigest)?.layers).toHaveLength(2);
    await rig.check(await rig.open());
  });
});

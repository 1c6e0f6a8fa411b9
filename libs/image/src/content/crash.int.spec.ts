import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltImage, buildImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { RegistryClient } from '../registry/registry-client.js';
import { HostileRegistry } from '../testing/hostile-registry.js';
import { incompressible } from '../testing/incompressible.js';
import { isRoot, nativeProgram } from '../testing/native-program.js';
import { ContentStore } from './content-store.js';
import { ImagePuller } from './image-puller.js';
import { LayerProgram } from './layer-program.js';

const berthLayerPath = nativeProgram('berth-layer');
const pullOnce = join(import.meta.dirname, '../testing/pull-once.js');
/** How often the pulling process is killed; BERTH_TEST_KILLS asks for more. */
const kills = Number(process.env.BERTH_TEST_KILLS ?? 8);

describe.skipIf(!isRoot)('a store whose process dies', () => {
  let dir: string;
  let registry: HostileRegistry;
  let image: BuiltImage;
  let reference: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'berth-crash-'));
    registry = await HostileRegistry.start();
    const layers = [1, 2, 3].map((index) =>
      buildLayer(
        Array.from({ length: 40 }, (_, file) => ({ type: 'file', path: `l${index}/f${file}`, content: incompressible(40_000) }) as const),
      ),
    );
    image = buildImage({ layers: await Promise.all(layers), config: {}, platform: 'linux/amd64' });
    registry.addImage(image);
    reference = `${registry.host}/team/app`;
  });
  afterEach(async () => {
    await registry.stop();
    await new LayerProgram(berthLayerPath).remove(dir);
  });

  const open = () => ContentStore.open({ dir, berthLayerPath });
  const pullInto = (store: ContentStore) =>
    new ImagePuller(store).pull(
      { reference, digest: image.manifestDigest },
      {
        client: new RegistryClient({ resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }) }),
        platform: 'linux/amd64',
      },
    );

  /** Whatever the store claims to have is whole. */
  async function check(store: ContentStore): Promise<void> {
    expect(await readdir(join(dir, 'tmp'))).toEqual([]);
    expect((await readdir(join(dir, 'layers'))).length).toBe(store.layerIds().length);
    for (const diffId of store.layerIds()) execFileSync('fsck.erofs', ['--extract', store.layerPath(diffId)], { stdio: 'pipe' });
  }

  it(`is sound after each of ${kills} kills in the middle of pulls and collections`, async () => {
    let seed = 7;
    for (let kill = 0; kill < kills; kill++) {
      const child = spawn(process.execPath, [pullOnce, dir, reference, image.manifestDigest], { stdio: ['ignore', 'pipe', 'ignore'] });
      const gone = once(child, 'exit');
      await once(child.stdout, 'data');
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      await sleep((seed >>> 8) % 250);
      child.kill('SIGKILL');
      await gone;
      await check(await open());
    }
    const store = await open();
    await pullInto(store);
    expect(store.hasAll(image.manifestDigest)).toBe(true);
    await check(store);
  }, 120_000);

  it('pulls again what a power cut left without its record', async () => {
    await pullInto(await open());
    const [first = ''] = await readdir(join(dir, 'layers'));
    await truncate(join(dir, 'layers', first, 'layer.json'));
    const store = await open();
    expect(store.layerIds()).toHaveLength(2);
    expect(store.image(image.manifestDigest)).toBeUndefined();
    expect((await pullInto(store)).layers).toHaveLength(3);
    await check(await open());
  });
});

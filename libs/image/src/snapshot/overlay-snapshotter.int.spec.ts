import { once } from 'node:events';
import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe } from 'vitest';
import { buildLayer } from '../build/build-layer.js';
import { LayerProgram } from '../content/layer-program.js';
import { isRoot, nativeProgram } from '../testing/native-program.js';
import { OverlaySnapshotter } from './overlay-snapshotter.js';
import { type SnapshotterFixture, snapshotterSuite } from './snapshotter.suite.js';

const berthLayer = nativeProgram('berth-layer');

async function openFixture(): Promise<SnapshotterFixture> {
  // A comma and a colon in the path: overlayfs reads both as its own.
  const root = await mkdtemp(join(tmpdir(), 'berth-snapshots,a:b-'));
  const program = new LayerProgram(berthLayer);
  const snapshots = join(root, 'snapshots');
  const reopen = () => new OverlaySnapshotter(snapshots, berthLayer);
  const snapshotter = reopen();
  let count = 0;
  return {
    snapshotter,
    reopen,
    async layer(entries) {
      const built = await buildLayer(entries);
      const dir = join(root, `layer-${count++}`);
      await mkdir(dir);
      const unpacking = program.unpack(dir, { layerBytesMax: 2 ** 30, layerEntriesMax: 10_000 });
      unpacking.archive.end(gunzipSync(built.blob));
      if (!unpacking.archive.writableFinished) await once(unpacking.archive, 'finish');
      await unpacking.done;
      return { diffId: built.diffId, dir };
    },
    leftovers: async () => (await readdir(snapshots).catch(() => [])).filter((name) => name !== '.empty'),
    async dispose() {
      for (const { key } of await snapshotter.list()) await snapshotter.remove(key);
      await program.remove(root);
    },
  };
}

describe.skipIf(!isRoot)('on plain directories', () => snapshotterSuite('OverlaySnapshotter', openFixture));

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { beforeAll, describe } from 'vitest';
import { buildLayer } from '../build/build-layer.js';
import { type LayerForm, LayerProgram } from '../content/layer-program.js';
import { isRoot, nativeProgram } from '../testing/native-program.js';
import { loadImageModules } from './kernel-modules.js';
import { OverlaySnapshotter } from './overlay-snapshotter.js';
import { type SnapshotterFixture, snapshotterSuite } from './snapshotter.suite.js';

const berthLayer = nativeProgram('berth-layer');

async function openFixture(form: LayerForm): Promise<SnapshotterFixture> {
  // A comma and a colon in the path: overlayfs reads both as its own.
  const root = await mkdtemp(join(tmpdir(), 'berth-snapshots,a:b-'));
  const program = new LayerProgram(berthLayer);
  const snapshots = join(root, 'snapshots');
  const reopen = () => new OverlaySnapshotter(snapshots, berthLayer);
  const snapshotter = reopen();
  const namesIn = (dir: string) => readdir(dir).catch(() => [] as string[]);
  let count = 0;
  const layerOf: SnapshotterFixture['layerOf'] = async (bytes, { digest, diffId }) => {
    const path = join(root, `layer-${count++}`);
    if (form === 'directory') await mkdir(path);
    const blob = { digest, diffId, compression: 'gzip' } as const;
    await program.make(form, path, blob, { layerBytesMax: 2 ** 30, layerEntriesMax: 10_000 }, Readable.from([bytes]));
    return { diffId, path, form };
  };
  return {
    snapshotter,
    reopen,
    async layer(entries) {
      const built = await buildLayer(entries);
      return layerOf(built.blob, built);
    },
    layerOf,
    leftovers: async () => [
      ...(await namesIn(snapshots)).filter((name) => name !== '.empty' && name !== '.layers'),
      ...(await namesIn(join(snapshots, '.layers'))),
    ],
    async dispose() {
      for (const { key } of await snapshotter.list()) await snapshotter.remove(key);
      await program.remove(root);
    },
  };
}

// Where the kernel's own loading of modules leads nowhere, as in the virtual machine.
beforeAll(async () => {
  await promisify(execFile)('modprobe', ['-q', 'overlay']).catch(() => {});
  await loadImageModules();
});

describe.skipIf(!isRoot)('on plain directories', () => snapshotterSuite('OverlaySnapshotter', () => openFixture('directory')));
describe.skipIf(!isRoot)('on images', () => snapshotterSuite('OverlaySnapshotter', () => openFixture('image')));

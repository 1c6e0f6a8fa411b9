import { mkdtemp, readdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltImage, buildImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { RegistryClient } from '../registry/registry-client.js';
import { HostileRegistry } from '../testing/hostile-registry.js';
import { incompressible } from '../testing/incompressible.js';
import { isRoot, nativeProgram } from '../testing/native-program.js';
import { codeOf } from '../testing/registry-fixture.js';
import { ContentStore } from './content-store.js';
import { ImagePuller } from './image-puller.js';
import { LayerProgram } from './layer-program.js';

const berthLayerPath = nativeProgram('berth-layer');
const limits = { attempts: 2, backoffMs: 5, headTimeoutMs: 1000, floor: { windowMs: 300, minBytes: 1024 * 1024 } };

describe.skipIf(!isRoot)('a download that was cut', () => {
  let dir: string;
  let registry: HostileRegistry;
  let image: BuiltImage;
  let digest: string;
  let blob: Buffer;

  beforeAll(async () => {
    const layer = await buildLayer([{ type: 'file', path: 'data', content: incompressible(3_000_000) }]);
    image = buildImage({ layers: [layer], config: {}, platform: 'linux/amd64' });
    ({ digest, blob } = layer);
  });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'berth-resume-'));
    registry = await HostileRegistry.start();
    registry.addImage(image);
  });
  afterEach(async () => {
    await registry.stop();
    await new LayerProgram(berthLayerPath).remove(dir);
  });

  const open = () => ContentStore.open({ dir: join(dir, 'store'), berthLayerPath });
  const pullInto = (store: ContentStore, from = registry, signal?: AbortSignal) =>
    new ImagePuller(store).pull(
      { reference: `${from.host}/team/app`, digest: image.manifestDigest },
      {
        client: new RegistryClient({ resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }), limits }),
        platform: 'linux/amd64',
        signal,
      },
    );
  const held = async () => {
    const names = await readdir(join(dir, 'store/partial'));
    return Promise.all(
      names.map(async (name) => ({ path: join(dir, 'store/partial', name), bytes: (await stat(join(dir, 'store/partial', name))).size })),
    );
  };
  const asked = (of = registry) => of.seen.filter(({ path }) => path.includes(digest)).map(({ headers }) => headers.range);

  /** Sends so much of the layer and then falls silent. */
  const stallAfter = (bytes: number) => {
    registry.intercept = (request, response) => {
      if (!request.url?.includes(digest)) return false;
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const headers = from > 0 ? { 'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}` } : {};
      response.writeHead(from > 0 ? 206 : 200, { ...headers, 'content-length': blob.length - from });
      response.write(blob.subarray(from, Math.max(from, bytes)));
      return true;
    };
  };

  /** A pull that was given up after about so many bytes. */
  async function cutAfter(bytes: number, store: ContentStore): Promise<void> {
    stallAfter(bytes);
    const leaving = new AbortController();
    const pulling = pullInto(store, registry, leaving.signal);
    pulling.catch(() => {});
    await expect.poll(async () => (await held())[0]?.bytes ?? 0, { timeout: 5000 }).toBeGreaterThan(bytes / 2);
    leaving.abort(new Error('enough'));
    await expect(pulling).rejects.toThrow('enough');
    await expect.poll(async () => (await readdir(join(dir, 'store/tmp'))).length).toBe(0);
    registry.reset();
  }

  it('goes on from the bytes there are, and leaves no trace of it', async () => {
    const store = await open();
    await cutAfter(2_000_000, store);
    const [before] = await held();
    await pullInto(store);
    expect(asked()).toEqual([`bytes=${before?.bytes}-${blob.length - 1}`]);
    expect(store.hasAll(image.manifestDigest)).toBe(true);
    expect(await held()).toEqual([]);
  });

  it('goes on in the next process too', async () => {
    await cutAfter(2_000_000, await open());
    const [before] = await held();
    const store = await open();
    await pullInto(store);
    expect(asked()).toEqual([`bytes=${before?.bytes}-${blob.length - 1}`]);
    expect(store.hasAll(image.manifestDigest)).toBe(true);
  });

  it('is given up when the registry stalls, and gone on with when it recovers', async () => {
    const store = await open();
    stallAfter(1_000_000);
    expect(await codeOf(pullInto(store))).toBe('timeout');
    expect((await held())[0]?.bytes).toBe(1_000_000);
    registry.reset();
    await pullInto(store);
    expect(asked()).toEqual([`bytes=1000000-${blob.length - 1}`]);
  });

  it('is fetched anew, whole, when what it left is not what it was', async () => {
    const store = await open();
    await cutAfter(2_000_000, store);
    const [before] = await held();
    await writeFile(before?.path ?? '', Buffer.alloc(before?.bytes ?? 0));
    await pullInto(store);
    expect(asked()).toEqual([`bytes=${before?.bytes}-${blob.length - 1}`, undefined]);
    expect(store.hasAll(image.manifestDigest)).toBe(true);
    expect(await held()).toEqual([]);
  });

  it('is asked for once more even when nothing is missing: who has no permission gets nothing', async () => {
    const store = await open();
    await cutAfter(2_000_000, store);
    const [before] = await held();
    await writeFile(before?.path ?? '', blob);
    await pullInto(store);
    expect(asked()).toEqual([`bytes=${blob.length - 1}-${blob.length - 1}`]);
  });

  it('is never completed by another registry', async () => {
    const other = await HostileRegistry.start();
    try {
      other.addImage(image);
      const store = await open();
      await cutAfter(2_000_000, store);
      await pullInto(store, other);
      expect(asked(other)).toEqual([undefined]);
    } finally {
      await other.stop();
    }
  });

  it('leaves nothing when the bytes are bad', async () => {
    const store = await open();
    registry.addBlob(Buffer.alloc(blob.length, 7), digest);
    expect(await codeOf(pullInto(store))).toBe('digestMismatch');
    expect(await held()).toEqual([]);
  });

  it('is forgotten when space is made', async () => {
    const store = await open();
    await cutAfter(2_000_000, store);
    await store.removeUnused({ images: [], layers: [] });
    expect(await held()).toEqual([]);
  });
});

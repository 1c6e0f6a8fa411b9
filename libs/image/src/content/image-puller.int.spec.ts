import { mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { digestOf } from '@berth/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltImage, buildImage } from '../build/build-image.js';
import { type BuiltLayer, buildLayer, type LayerEntry } from '../build/build-layer.js';
import { MEDIA_TYPES } from '../registry/media-types.js';
import { RegistryClient } from '../registry/registry-client.js';
import { OverlaySnapshotter } from '../snapshot/overlay-snapshotter.js';
import { HostileRegistry } from '../testing/hostile-registry.js';
import { incompressible } from '../testing/incompressible.js';
import { isRoot, nativeProgram } from '../testing/native-program.js';
import { codeOf } from '../testing/registry-fixture.js';
import { ContentStore } from './content-store.js';
import { ImagePuller, type PullLimits } from './image-puller.js';
import { type LayerForm, LayerProgram } from './layer-program.js';

const platform = 'linux/amd64';
const limits = { attempts: 2, backoffMs: 5, headTimeoutMs: 1000, floor: { windowMs: 500, minBytes: 1 } };
const berthLayerPath = nativeProgram('berth-layer');

const layerOf = (...entries: LayerEntry[]) => buildLayer(entries);
const file = (path: string, content: string | Buffer = path): LayerEntry => ({ type: 'file', path, content });
const imageOf = (...layers: BuiltLayer[]) => buildImage({ layers, config: { Cmd: ['/run'] }, platform });

describe.skipIf(!isRoot)('pulling an image', () => {
  let dir: string;
  let store: ContentStore;
  let puller: ImagePuller;
  let registry: HostileRegistry;
  let other: HostileRegistry;
  let base: BuiltLayer;
  let image: BuiltImage;

  const start = async (pullLimits: Partial<PullLimits> = {}, form?: LayerForm) => {
    store = await ContentStore.open({ dir: join(dir, 'store'), berthLayerPath, form });
    puller = new ImagePuller(store, pullLimits);
  };

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'berth-pull-'));
    registry = await HostileRegistry.start();
    other = await HostileRegistry.start();
    base = await layerOf(file('base', incompressible(600_000)));
    image = imageOf(base, await layerOf(file('app')));
    registry.addImage(image);
    await start();
  });

  afterEach(async () => {
    await registry.stop();
    await other.stop();
    await new LayerProgram(berthLayerPath).remove(dir);
  });

  const clientOf = (authorization?: string) =>
    new RegistryClient({ resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }), authorization, limits });

  const pull = (digest = image.manifestDigest, options: { from?: HostileRegistry; as?: string; signal?: AbortSignal } = {}) =>
    puller.pull(
      { reference: `${(options.from ?? registry).host}/team/app:latest`, digest },
      { client: clientOf(options.as), platform, signal: options.signal },
    );

  const onDisk = async () => ({
    layers: await readdir(join(dir, 'store/layers')),
    images: await readdir(join(dir, 'store/images')),
    tmp: await readdir(join(dir, 'store/tmp')),
  });
  const nothing = { layers: [], images: [], tmp: [] };
  const blobGets = (digest: string) => registry.count('GET', new RegExp(`/blobs/${digest}`));

  /** An image whose one layer is these bytes, under this media type and diff id, its manifest consistent. */
  const addRaw = (blob: Buffer, { mediaType = MEDIA_TYPES.ociLayerGzip as string, diffId }: { mediaType?: string; diffId: string }) => {
    const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId] } }));
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: { mediaType: MEDIA_TYPES.ociConfig, digest: registry.addBlob(config), size: config.length },
      layers: [{ mediaType, digest: registry.addBlob(blob), size: blob.length }],
    };
    return registry.addManifest(Buffer.from(JSON.stringify(manifest)), MEDIA_TYPES.ociManifest);
  };

  it('unpacks its layers, lowest first, and tells their space and the configuration', async () => {
    const pulled = await pull();
    expect(pulled).toMatchObject({ digest: image.manifestDigest, manifestDigest: image.manifestDigest, config: { cmd: ['/run'] } });
    expect(pulled.layers.map(({ diffId }) => diffId)).toEqual(image.layers.map(({ diffId }) => diffId));
    const snapshotter = new OverlaySnapshotter(join(dir, 'snapshots'), berthLayerPath);
    const { rootfs } = await snapshotter.prepare('one', pulled.layers);
    expect(await readFile(join(rootfs, 'app'), 'utf8')).toBe('app');
    await snapshotter.remove('one');
    expect(pulled.layers[0]?.bytes).toBeGreaterThanOrEqual(600_000);
    expect((await stat(join(dir, 'store'))).mode & 0o777).toBe(0o700);
    expect((await onDisk()).tmp).toEqual([]);
  });

  it('asks only for permission when the image is here already, also after a restart', async () => {
    const first = await pull();
    await start();
    registry.reset();
    expect(await pull()).toEqual(first);
    expect(registry.seen.map(({ method }) => method)).toEqual(['HEAD']);
  });

  it('downloads a layer once for all images that share it', async () => {
    await pull();
    const second = imageOf(base, await layerOf(file('second')));
    registry.addImage(second);
    await pull(second.manifestDigest);
    expect(blobGets(base.digest)).toBe(1);
    const usage = store.usage();
    expect(usage.sumOfImagesBytes - usage.totalBytes).toBe(usage.sharedBytes);
  });

  it('begins with the largest layers', async () => {
    const small = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((name) => layerOf(file(name))));
    const many = imageOf(...small, base);
    registry.addImage(many);
    registry.reset();
    await pull(many.manifestDigest);
    const layers = many.layers.map(({ digest }) => digest);
    const asked = registry.seen.flatMap(({ path }) => layers.filter((digest) => path.includes(digest)));
    expect(asked.slice(0, 3)).toContain(base.digest);
  });

  it('downloads a layer once however many ask at the same time', async () => {
    const second = imageOf(base, await layerOf(file('second')));
    registry.addImage(second);
    await Promise.all(Array.from({ length: 10 }, (_, index) => pull(index % 2 ? second.manifestDigest : image.manifestDigest)));
    for (const layer of [...image.layers, ...second.layers]) expect(blobGets(layer.digest)).toBe(1);
  });

  it.each(['image', 'directory'] as const)('makes each layer what it is told to: %s', async (form) => {
    await start({}, form);
    const pulled = await pull();
    expect(pulled.layers.map((layer) => layer.form)).toEqual([form, form]);
    for (const { path } of pulled.layers) expect((await stat(path)).isDirectory()).toBe(form === 'directory');
    // What is there stays what it is, whatever new layers become.
    await start({}, form === 'image' ? 'directory' : 'image');
    expect(await pull()).toEqual(pulled);
  });

  it('takes layers compressed with zstd', async () => {
    // A frame of one block, as it is (RFC 8878).
    const head = Buffer.from('28b52ffda000000000000000', 'hex');
    const whole = await layerOf(file('small'));
    const small = zlib.gunzipSync(whole.blob);
    const frame = Buffer.concat([head, small]);
    frame.writeUInt32LE(small.length, 5);
    frame.writeUIntLE(1 | (small.length << 3), 9, 3);
    const digest = addRaw(frame, { mediaType: MEDIA_TYPES.ociLayerZstd, diffId: whole.diffId });
    expect((await pull(digest)).layers).toHaveLength(1);
  });

  it('takes uncompressed layers, and one layer several times in an image', async () => {
    const tar = zlib.gunzipSync(base.blob);
    const digest = addRaw(tar, { mediaType: MEDIA_TYPES.ociLayer, diffId: digestOf(tar) });
    expect((await pull(digest)).layers).toHaveLength(1);
    const twice = imageOf(base, base);
    registry.addImage(twice);
    expect((await pull(twice.manifestDigest)).layers).toHaveLength(2);
  });

  describe('leaves nothing and says', () => {
    // Who is told of a failure does not wait for the clearing up. A layer of the image that was whole may stay until it is collected.
    afterEach(async () => {
      await expect.poll(async () => (await onDisk()).tmp).toEqual([]);
      await store.removeUnused({ images: [], layers: [] });
      expect(await onDisk()).toEqual(nothing);
    });

    const badLayers = async () => (await onDisk()).layers.filter((hex) => hex !== image.layers[1]?.diffId.slice('sha256:'.length));

    const serve = (digest: string, answer: (request: IncomingMessage, response: ServerResponse) => void) => {
      registry.intercept = (request, response) => {
        if (!request.url?.includes(digest) || request.method !== 'GET') return false;
        answer(request, response);
        return true;
      };
    };

    it('digestMismatch for flipped bytes, wherever they are', async () => {
      for (const at of [0, 1, 3, base.size >> 1, base.size - 1]) {
        const bytes = Buffer.from(base.blob);
        bytes[at] = (bytes[at] ?? 0) ^ 0x10;
        serve(base.digest, (_request, response) => response.end(bytes));
        expect(await codeOf(pull()), `byte ${at}`).toBe('digestMismatch');
        expect(await badLayers()).toEqual([]);
      }
    });

    it('digestMismatch for short and long bytes', async () => {
      for (const bytes of [base.blob.subarray(0, -1), Buffer.concat([base.blob, Buffer.from('x')])]) {
        serve(base.digest, (_request, response) => response.end(bytes));
        expect(await codeOf(pull())).toBe('digestMismatch');
        expect(await badLayers()).toEqual([]);
      }
    });

    it('digestMismatch when the configuration names another diff id', async () => {
      expect(await codeOf(pull(addRaw(base.blob, { diffId: `sha256:${'0'.repeat(64)}` })))).toBe('digestMismatch');
    });

    it('layerRejected for bytes that are no gzip, end early, or go on after its end', async () => {
      const { diffId } = base;
      const tails = [Buffer.alloc(1000, 'x'), Buffer.alloc(1000), Buffer.alloc(300_000)].map((tail) => Buffer.concat([base.blob, tail]));
      for (const blob of [Buffer.from('no gzip at all'), base.blob.subarray(0, -20), ...tails])
        expect(await codeOf(pull(addRaw(blob, { diffId })))).toBe('layerRejected');
    });

    it('layerRejected for what is no archive, even with the right digests', async () => {
      const text = Buffer.alloc(100_000, 'not a tar archive ');
      expect(await codeOf(pull(addRaw(zlib.gzipSync(text), { diffId: digestOf(text) })))).toBe('layerRejected');
    });

    it('tooLarge for a bomb, long before it has gone off', async () => {
      await start({ layerBytesMax: 1024 * 1024 });
      const zeros = await layerOf(file('zeros', Buffer.alloc(200 * 1024 * 1024)));
      expect(zeros.size).toBeLessThan(1024 * 1024);
      expect(await codeOf(pull(addRaw(zeros.blob, zeros)))).toBe('tooLarge');
    });

    it('tooLarge for too many entries', async () => {
      await start({ layerEntriesMax: 50 });
      const many = await layerOf(...Array.from({ length: 100 }, (_, index) => file(`f${index}`)));
      expect(await codeOf(pull(addRaw(many.blob, many)))).toBe('tooLarge');
    });

    it('the signal’s reason when it is aborted in the middle', async () => {
      const controller = new AbortController();
      const reason = new Error('enough');
      serve(base.digest, (_request, response) => {
        response.writeHead(200, { 'content-length': base.size });
        response.write(base.blob.subarray(0, 100));
        setTimeout(() => controller.abort(reason), 50);
      });
      await expect(pull(image.manifestDigest, { signal: controller.signal })).rejects.toBe(reason);
    });
  });

  it('finds nothing half-made after a crash', async () => {
    await pull();
    const before = await onDisk();
    await mkdir(join(dir, 'store/tmp/crashed/fs'), { recursive: true });
    await writeFile(join(dir, 'store/tmp/crashed/fs/half'), '');
    await writeFile(join(dir, 'store/images/.partial'), '{');
    await start();
    expect(await onDisk()).toEqual(before);
    expect(store.hasAll(image.manifestDigest)).toBe(true);
  });

  describe('of another tenant', () => {
    const owner = 'Bearer owner';
    const stranger = 'Bearer stranger';

    beforeEach(async () => {
      registry.intercept = (request, response) => {
        if (request.headers.authorization === owner) return false;
        response.writeHead(request.headers.authorization ? 403 : 401).end();
        return true;
      };
      await pull(image.manifestDigest, { as: owner });
    });

    it('is refused as if it were not in the cache', async () => {
      expect(await codeOf(pull(image.manifestDigest, { as: stranger }))).toBe('unauthorized');
      expect(await codeOf(pull(image.manifestDigest))).toBe('unauthorized');
      expect(await codeOf(pull(image.manifestDigest, { as: owner }))).toBe('no error');
    });

    it('is not got by naming its digest at a registry of one’s own that nods', async () => {
      other.intercept = (request, response) => {
        if (request.method !== 'HEAD') return false;
        response.writeHead(200).end();
        return true;
      };
      expect(await codeOf(pull(image.manifestDigest, { from: other }))).toBe('imageNotFound');
    });

    it('is not got by naming its layers in an image of one’s own', async () => {
      const mine = await layerOf(file('mine'));
      const config = Buffer.from(
        JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [base.diffId] } }),
      );
      const manifestOf = (layer: { digest: string; size: number }) =>
        Buffer.from(
          JSON.stringify({
            schemaVersion: 2,
            mediaType: MEDIA_TYPES.ociManifest,
            config: { mediaType: MEDIA_TYPES.ociConfig, digest: other.addBlob(config), size: config.length },
            layers: [{ mediaType: MEDIA_TYPES.ociLayerGzip, digest: layer.digest, size: layer.size }],
          }),
        );
      other.addBlob(mine.blob);
      const otherBytes = other.addManifest(manifestOf(mine), MEDIA_TYPES.ociManifest);
      expect(await codeOf(pull(otherBytes, { from: other }))).toBe('digestMismatch');
      const sameDigest = other.addManifest(manifestOf(base), MEDIA_TYPES.ociManifest);
      other.intercept = (request, response) => {
        if (request.method !== 'HEAD') return false;
        response.writeHead(200).end();
        return true;
      };
      expect(await codeOf(pull(sameDigest, { from: other }))).toBe('imageNotFound');
    });

    it('is shared with one who has the same bytes at a registry of his own, and shows them', async () => {
      other.addImage(image);
      expect(await codeOf(pull(image.manifestDigest, { from: other }))).toBe('no error');
      expect(other.count('GET', new RegExp(base.digest))).toBe(1);
      expect(store.usage().layers).toBe(2);
      other.reset();
      await pull(image.manifestDigest, { from: other });
      expect(other.seen.map(({ method }) => method)).toEqual(['HEAD']);
    });
  });

  it('does not suffer from another’s failing pull of the same layer', async () => {
    let refused = 0;
    registry.intercept = (request, response) => {
      if (!request.url?.includes(base.digest) || request.headers.authorization !== 'Bearer expired') return false;
      // Held back until the other has joined the flight.
      setTimeout(() => response.writeHead(403).end(), 100);
      refused++;
      return true;
    };
    const second = imageOf(base, await layerOf(file('second')));
    registry.addImage(second);
    const failing = codeOf(pull(image.manifestDigest, { as: 'Bearer expired' }));
    await expect.poll(() => refused).toBe(1);
    const succeeding = codeOf(pull(second.manifestDigest, { as: 'Bearer good' }));
    expect([await failing, await succeeding]).toEqual(['unauthorized', 'no error']);
  });

  describe('removing what is unused', () => {
    it('keeps what kept images, snapshots and pulls under way need', async () => {
      const [third, top] = [await layerOf(file('third')), await layerOf(file('top'))];
      const second = imageOf(base, third);
      const lone = imageOf(top);
      for (const each of [second, lone]) registry.addImage(each);
      for (const each of [image, second, lone]) await pull(each.manifestDigest);
      const removed = await store.removeUnused({ images: [second.manifestDigest], layers: [top.diffId] });
      expect([...removed.images].sort()).toEqual([image.manifestDigest, lone.manifestDigest].sort());
      expect(removed.layers).toEqual([image.layers[1]?.diffId]);
      expect(removed.bytes).toBeGreaterThan(0);
      expect([...store.layerIds()].sort()).toEqual([base.diffId, third.diffId, top.diffId].sort());
      expect((await onDisk()).layers).toHaveLength(3);
      await start();
      expect(store.hasAll(second.manifestDigest)).toBe(true);
      expect(store.hasAll(image.manifestDigest)).toBe(false);
    });

    it('may run at any moment of a pull', async () => {
      let done = false;
      const sweeping = (async () => {
        while (!done) {
          await store.removeUnused({ images: [], layers: [] });
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      })();
      for (let round = 0; round < 10; round++) expect(await codeOf(pull())).toBe('no error');
      done = true;
      await sweeping;
      await store.removeUnused({ images: [], layers: [] });
      expect(await onDisk()).toEqual(nothing);
    });
  });
});

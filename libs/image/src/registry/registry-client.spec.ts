import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { buildImage } from '../build/build-image.js';
import { HostileRegistry } from '../testing/hostile-registry.js';
import { codeOf, quickLimits, useRegistries } from '../testing/registry-fixture.js';
import { MEDIA_TYPES } from './media-types.js';

const platform = 'linux/amd64';
const fixture = useRegistries();

describe('resolving a reference', () => {
  it('finds the digest behind a tag and the layers to pull', async () => {
    const resolved = await fixture.clientOf().resolve(fixture.reference(), { platform });
    expect(resolved).toMatchObject({
      digest: fixture.image.manifestDigest,
      platformManifestDigest: fixture.image.manifestDigest,
      mediaType: MEDIA_TYPES.ociManifest,
    });
    expect(resolved.layers.map(({ digest }) => digest)).toEqual(fixture.image.layers.map(({ digest }) => digest));
  });

  it('says imageNotFound for a tag that is not there', async () => {
    expect(await codeOf(fixture.clientOf().resolve(fixture.reference({ tag: 'absent' }), { platform }))).toBe('imageNotFound');
  });

  it('says registryUnavailable when nobody listens, within its tries', async () => {
    const client = fixture.clientOf();
    const { host } = fixture.other;
    await fixture.other.stop();
    expect(await codeOf(client.resolve({ registry: host, repository: 'a', tag: 'b' }, { platform }))).toBe('registryUnavailable');
    fixture.other = await HostileRegistry.start();
  });

  it('says timeout for a registry that accepts and never answers', async () => {
    const server = createServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(server.address() as { port: number }).port}`;
    const client = fixture.clientOf({ limits: { ...quickLimits, attempts: 1, headTimeoutMs: 100 } });
    expect(await codeOf(client.resolve({ registry: host, repository: 'a', tag: 'b' }, { platform }))).toBe('timeout');
    server.close();
  });

  it('keeps to its deadline over all tries together', async () => {
    fixture.registry.intercept = () => true;
    const client = fixture.clientOf({ limits: { ...quickLimits, attempts: 100, metadataDeadlineMs: 400, headTimeoutMs: 150 } });
    const began = Date.now();
    expect(await codeOf(client.resolve(fixture.reference(), { platform }))).toBe('timeout');
    expect(Date.now() - began).toBeLessThan(2000);
  });

  it('rejects with the signal’s reason when aborted', async () => {
    fixture.registry.intercept = () => true;
    const controller = new AbortController();
    const reason = new Error('enough');
    setTimeout(() => controller.abort(reason), 30);
    await expect(fixture.clientOf().resolve(fixture.reference(), { platform, signal: controller.signal })).rejects.toBe(reason);
  });

  it('refuses a manifest whose bytes are not the digest’s', async () => {
    fixture.registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest }).end(`${fixture.image.manifest.toString()} `);
      return true;
    };
    expect(await codeOf(fixture.clientOf().fetchManifest(fixture.reference({ digest: fixture.image.manifestDigest })))).toBe(
      'digestMismatch',
    );
  });

  it('refuses a registry that contradicts itself about the digest of a tag', async () => {
    fixture.registry.intercept = (_request, response) => {
      const headers = { 'content-type': MEDIA_TYPES.ociManifest, 'docker-content-digest': `sha256:${'0'.repeat(64)}` };
      response.writeHead(200, headers).end(fixture.image.manifest);
      return true;
    };
    expect(await codeOf(fixture.clientOf().fetchManifest(fixture.reference()))).toBe('digestMismatch');
  });

  it('reads no more of a manifest than its limit', async () => {
    fixture.registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest });
      response.end(Buffer.alloc(5 * 1024 * 1024, ' '));
      return true;
    };
    expect(await codeOf(fixture.clientOf().fetchManifest(fixture.reference()))).toBe('tooLarge');
  });
});

describe('indexes', () => {
  const entry = (digest: string, size: number, more: object) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size, ...more });
  const addIndex = (manifests: object[], tag: string) => {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }));
    return { digest: fixture.registry.addManifest(bytes, MEDIA_TYPES.ociIndex, tag), size: bytes.length };
  };
  const here = () =>
    entry(fixture.image.manifestDigest, fixture.image.manifest.length, { platform: { os: 'linux', architecture: 'amd64' } });

  it('chooses the platform’s manifest and names the index as the digest to pin', async () => {
    const arm = buildImage({ layers: fixture.image.layers, config: {}, platform: 'linux/arm64' });
    const armDigest = fixture.registry.addImage(arm);
    const armEntry = entry(armDigest, arm.manifest.length, { platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } });
    const { digest } = addIndex([armEntry, here()], 'multi');
    const resolved = await fixture.clientOf().resolve(fixture.reference({ tag: 'multi' }), { platform });
    expect(resolved).toMatchObject({ digest, platformManifestDigest: fixture.image.manifestDigest });
    expect(await fixture.clientOf().resolve(fixture.reference({ tag: 'multi' }), { platform: 'linux/arm64' })).toMatchObject({
      platformManifestDigest: armDigest,
    });
  });

  it('says wrongPlatform and what is offered instead', async () => {
    addIndex([here()], 'amd');
    const refused = fixture.clientOf().resolve(fixture.reference({ tag: 'amd' }), { platform: 'linux/arm64' });
    await expect(refused).rejects.toMatchObject({ code: 'wrongPlatform', message: expect.stringContaining('linux/amd64') });
  });

  it('says wrongPlatform for a plain manifest whose configuration is for another', async () => {
    expect(await codeOf(fixture.clientOf().resolve(fixture.reference(), { platform: 'linux/arm64' }))).toBe('wrongPlatform');
  });

  it('refuses an entry that says our platform and holds another', async () => {
    addIndex(
      [entry(fixture.image.manifestDigest, fixture.image.manifest.length, { platform: { os: 'linux', architecture: 'arm64' } })],
      'liar',
    );
    expect(await codeOf(fixture.clientOf().resolve(fixture.reference({ tag: 'liar' }), { platform: 'linux/arm64' }))).toBe('wrongPlatform');
  });

  it('refuses an entry whose size is not the manifest’s', async () => {
    addIndex([{ ...here(), size: 1 }], 'sized');
    expect(await codeOf(fixture.clientOf().resolve(fixture.reference({ tag: 'sized' }), { platform }))).toBe('invalidManifest');
  });

  it('follows indexes within indexes to a bound', async () => {
    let inner = addIndex([here()], 'depth1');
    for (const tag of ['depth2', 'depth3']) inner = addIndex([{ mediaType: MEDIA_TYPES.ociIndex, ...inner }], tag);
    expect(await codeOf(fixture.clientOf().resolve(fixture.reference({ tag: 'depth2' }), { platform }))).toBe('no error');
    expect(await codeOf(fixture.clientOf().resolve(fixture.reference({ tag: 'depth3' }), { platform }))).toBe('invalidManifest');
  });
});

describe('reading a blob', () => {
  it('gives every byte of an honest one', async () => {
    expect((await fixture.readLayer(fixture.clientOf())).equals(fixture.layer.blob)).toBe(true);
  });

  const answer = (bytes: Buffer, headers: object = {}) => {
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request)) return false;
      response.writeHead(200, { ...headers }).end(bytes);
      return true;
    };
  };

  it('says digestMismatch for a flipped bit', async () => {
    const bytes = Buffer.from(fixture.layer.blob);
    bytes[bytes.length >> 1]! ^= 1;
    answer(bytes);
    expect(await codeOf(fixture.readLayer(fixture.clientOf()))).toBe('digestMismatch');
  });

  it('says digestMismatch for a short one, with and without an announced length', async () => {
    const short = fixture.layer.blob.subarray(0, -1);
    answer(short, { 'content-length': short.length });
    expect(await codeOf(fixture.readLayer(fixture.clientOf()))).toBe('digestMismatch');
    answer(short, { 'transfer-encoding': 'chunked' });
    expect(await codeOf(fixture.readLayer(fixture.clientOf()))).toBe('digestMismatch');
  });

  it('says digestMismatch for a long one, and yields no byte beyond the size', async () => {
    const long = Buffer.concat([fixture.layer.blob, Buffer.alloc(100_000)]);
    answer(long, { 'transfer-encoding': 'chunked' });
    let length = 0;
    const read = async () => {
      for await (const chunk of fixture.clientOf().openBlob(fixture.reference(), fixture.layer)) length += chunk.length;
    };
    expect(await codeOf(read())).toBe('digestMismatch');
    expect(length).toBeLessThanOrEqual(fixture.layer.size);
  });

  it('goes on where a cut connection stopped', async () => {
    const { blob } = fixture.layer;
    let cuts = 0;
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request) || cuts >= 2) return false;
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      response.writeHead(from ? 206 : 200, {
        'content-length': blob.length - from,
        ...(from ? { 'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}` } : {}),
      });
      response.write(blob.subarray(from, from + 100_000), () => response.destroy());
      cuts++;
      return true;
    };
    expect((await fixture.readLayer(fixture.clientOf())).equals(blob)).toBe(true);
    expect(fixture.registry.seen.filter((seen) => seen.headers.range).length).toBe(2);
  });

  it('gives up on a registry that cuts every time', async () => {
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request)) return false;
      response.writeHead(200, { 'content-length': fixture.layer.size });
      response.write('x', () => response.destroy());
      return true;
    };
    expect(await codeOf(fixture.readLayer(fixture.clientOf()))).toBe('registryUnavailable');
    expect(fixture.registry.seen.length).toBeLessThan(10);
  });

  it('says timeout for a transfer that stalls, and for one that trickles', async () => {
    const { blob, size } = fixture.layer;
    fixture.registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-length': size });
      response.write(blob.subarray(0, 10));
      return true;
    };
    expect(await codeOf(fixture.readLayer(fixture.clientOf()))).toBe('timeout');
    const timers: NodeJS.Timeout[] = [];
    fixture.registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-length': size });
      let at = 0;
      timers.push(setInterval(() => response.write(blob.subarray(at, ++at)), 20));
      return true;
    };
    expect(await codeOf(fixture.readLayer(fixture.clientOf()))).toBe('timeout');
    for (const timer of timers) clearInterval(timer);
  });

  it('bears a consumer that is slower than the floor', async () => {
    const slow = fixture.clientOf({ limits: { ...quickLimits, floor: { windowMs: 60, minBytes: 200 } } });
    let length = 0;
    for await (const chunk of slow.openBlob(fixture.reference(), fixture.layer)) {
      length += chunk.length;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(length).toBe(fixture.layer.size);
  });
});

describe('tries', () => {
  it('tries again after 503 and 429, no sooner than Retry-After says', async () => {
    const answers = [503, 429];
    fixture.registry.intercept = (_request, response) => {
      const status = answers.shift();
      if (status === undefined) return false;
      response.writeHead(status, status === 429 ? { 'retry-after': '1' } : {}).end();
      return true;
    };
    const began = Date.now();
    expect((await fixture.clientOf().fetchManifest(fixture.reference())).digest).toBe(fixture.image.manifestDigest);
    expect(Date.now() - began).toBeGreaterThanOrEqual(1000);
  });

  it('gives up at once on a Retry-After beyond its patience, and after its tries otherwise', async () => {
    fixture.registry.intercept = (_request, response) => {
      response.writeHead(429, { 'retry-after': '3600' }).end();
      return true;
    };
    expect(await codeOf(fixture.clientOf().fetchManifest(fixture.reference()))).toBe('registryUnavailable');
    expect(fixture.registry.seen.length).toBe(1);
    fixture.registry.intercept = (_request, response) => {
      response.writeHead(500).end();
      return true;
    };
    expect(await codeOf(fixture.clientOf().fetchManifest(fixture.reference()))).toBe('registryUnavailable');
    expect(fixture.registry.seen.length).toBe(1 + quickLimits.attempts);
  });
});

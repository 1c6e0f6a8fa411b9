import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltImage, buildImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { ImageError } from '../image-error.js';
import { HostileRegistry } from '../testing/hostile-registry.js';
import { incompressible } from '../testing/incompressible.js';
import { MEDIA_TYPES } from './media-types.js';
import { RegistryClient, type RegistryClientOptions } from './registry-client.js';

const platform = 'linux/amd64';
const quick = { metadataDeadlineMs: 5000, headTimeoutMs: 500, attempts: 3, backoffMs: 5, floor: { windowMs: 300, minBytes: 1024 } };

let image: BuiltImage;
let registry: HostileRegistry;
let other: HostileRegistry;

beforeAll(async () => {
  const layer = await buildLayer([{ type: 'file', path: 'data', content: incompressible(300_000) }]);
  image = buildImage({ layers: [layer], config: { Cmd: ['/data'] }, platform });
});

beforeEach(async () => {
  registry = await HostileRegistry.start();
  other = await HostileRegistry.start();
  registry.addImage(image, 'latest');
});

afterEach(async () => {
  await registry.stop();
  await other.stop();
});

const clientOf = (options: Partial<RegistryClientOptions> = {}) =>
  new RegistryClient({
    resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }),
    internalOrigins: [other.url],
    ...options,
    limits: { ...quick, ...options.limits },
  });

const reference = (more: object = { tag: 'latest' }) => ({ registry: registry.host, repository: 'team/app', ...more });

const codeOf = async (operation: Promise<unknown>): Promise<string> => {
  try {
    await operation;
    return 'no error';
  } catch (error) {
    if (error instanceof ImageError) return error.code;
    throw error;
  }
};

const readAll = async (client: RegistryClient, blob = image.layers[0]!): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of client.openBlob(reference(), { mediaType: '', ...blob })) chunks.push(chunk);
  return Buffer.concat(chunks);
};

const isBlob = (request: { url?: string | undefined }) => request.url?.includes(image.layers[0]!.digest) ?? false;

describe('resolving a reference', () => {
  it('finds the digest behind a tag and the layers to pull', async () => {
    const resolved = await clientOf().resolve(reference(), { platform });
    expect(resolved).toMatchObject({
      digest: image.manifestDigest,
      platformManifestDigest: image.manifestDigest,
      mediaType: MEDIA_TYPES.ociManifest,
    });
    expect(resolved.layers.map(({ digest }) => digest)).toEqual(image.layers.map(({ digest }) => digest));
  });

  it('says imageNotFound for a tag that is not there', async () => {
    expect(await codeOf(clientOf().resolve(reference({ tag: 'absent' }), { platform }))).toBe('imageNotFound');
  });

  it('says registryUnavailable when nobody listens, within its tries', async () => {
    const client = clientOf();
    const { host } = other;
    await other.stop();
    expect(await codeOf(client.resolve({ registry: host, repository: 'a', tag: 'b' }, { platform }))).toBe('registryUnavailable');
    other = await HostileRegistry.start();
  });

  it('says timeout for a registry that accepts and never answers', async () => {
    const server = createServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = clientOf({ limits: { ...quick, attempts: 1, headTimeoutMs: 100 } });
    expect(await codeOf(client.resolve({ registry: host, repository: 'a', tag: 'b' }, { platform }))).toBe('timeout');
    server.close();
  });

  it('keeps to its deadline over all tries together', async () => {
    registry.intercept = () => true;
    const client = clientOf({ limits: { ...quick, attempts: 100, metadataDeadlineMs: 400, headTimeoutMs: 150 } });
    const began = Date.now();
    expect(await codeOf(client.resolve(reference(), { platform }))).toBe('timeout');
    expect(Date.now() - began).toBeLessThan(2000);
  });

  it('rejects with the signal’s reason when aborted', async () => {
    registry.intercept = () => true;
    const controller = new AbortController();
    const reason = new Error('enough');
    setTimeout(() => controller.abort(reason), 30);
    await expect(clientOf().resolve(reference(), { platform, signal: controller.signal })).rejects.toBe(reason);
  });

  it('refuses a manifest whose bytes are not the digest’s', async () => {
    registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest }).end(`${image.manifest.toString()} `);
      return true;
    };
    expect(await codeOf(clientOf().fetchManifest(reference({ digest: image.manifestDigest })))).toBe('digestMismatch');
  });

  it('refuses a registry that contradicts itself about the digest of a tag', async () => {
    registry.intercept = (_request, response) => {
      const headers = { 'content-type': MEDIA_TYPES.ociManifest, 'docker-content-digest': `sha256:${'0'.repeat(64)}` };
      response.writeHead(200, headers).end(image.manifest);
      return true;
    };
    expect(await codeOf(clientOf().fetchManifest(reference()))).toBe('digestMismatch');
  });

  it('reads no more of a manifest than its limit', async () => {
    registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest });
      response.end(Buffer.alloc(5 * 1024 * 1024, ' '));
      return true;
    };
    expect(await codeOf(clientOf().fetchManifest(reference()))).toBe('tooLarge');
  });
});

describe('indexes', () => {
  const entry = (digest: string, size: number, more: object) => ({ mediaType: MEDIA_TYPES.ociManifest, digest, size, ...more });
  const addIndex = (manifests: object[], tag: string) => {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }));
    return { digest: registry.addManifest(bytes, MEDIA_TYPES.ociIndex, tag), size: bytes.length };
  };
  const here = () => entry(image.manifestDigest, image.manifest.length, { platform: { os: 'linux', architecture: 'amd64' } });

  it('chooses the platform’s manifest and names the index as the digest to pin', async () => {
    const arm = buildImage({ layers: image.layers, config: {}, platform: 'linux/arm64' });
    const armDigest = registry.addImage(arm);
    const armEntry = entry(armDigest, arm.manifest.length, { platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } });
    const { digest } = addIndex([armEntry, here()], 'multi');
    const resolved = await clientOf().resolve(reference({ tag: 'multi' }), { platform });
    expect(resolved).toMatchObject({ digest, platformManifestDigest: image.manifestDigest });
    expect(await clientOf().resolve(reference({ tag: 'multi' }), { platform: 'linux/arm64' })).toMatchObject({
      platformManifestDigest: armDigest,
    });
  });

  it('says wrongPlatform and what is offered instead', async () => {
    addIndex([here()], 'amd');
    const refused = clientOf().resolve(reference({ tag: 'amd' }), { platform: 'linux/arm64' });
    await expect(refused).rejects.toMatchObject({ code: 'wrongPlatform', message: expect.stringContaining('linux/amd64') });
  });

  it('says wrongPlatform for a plain manifest whose configuration is for another', async () => {
    expect(await codeOf(clientOf().resolve(reference(), { platform: 'linux/arm64' }))).toBe('wrongPlatform');
  });

  it('refuses an entry that says our platform and holds another', async () => {
    addIndex([entry(image.manifestDigest, image.manifest.length, { platform: { os: 'linux', architecture: 'arm64' } })], 'liar');
    expect(await codeOf(clientOf().resolve(reference({ tag: 'liar' }), { platform: 'linux/arm64' }))).toBe('wrongPlatform');
  });

  it('refuses an entry whose size is not the manifest’s', async () => {
    addIndex([{ ...here(), size: 1 }], 'sized');
    expect(await codeOf(clientOf().resolve(reference({ tag: 'sized' }), { platform }))).toBe('invalidManifest');
  });

  it('follows indexes within indexes to a bound', async () => {
    let inner = addIndex([here()], 'depth1');
    for (const tag of ['depth2', 'depth3']) inner = addIndex([{ mediaType: MEDIA_TYPES.ociIndex, ...inner }], tag);
    expect(await codeOf(clientOf().resolve(reference({ tag: 'depth2' }), { platform }))).toBe('no error');
    expect(await codeOf(clientOf().resolve(reference({ tag: 'depth3' }), { platform }))).toBe('invalidManifest');
  });
});

describe('reading a blob', () => {
  it('gives every byte of an honest one', async () => {
    expect((await readAll(clientOf())).equals(image.layers[0]!.blob)).toBe(true);
  });

  const answer = (bytes: Buffer, headers: object = {}) => {
    registry.intercept = (request, response) => {
      if (!isBlob(request)) return false;
      response.writeHead(200, { ...headers }).end(bytes);
      return true;
    };
  };

  it('says digestMismatch for a flipped bit', async () => {
    const bytes = Buffer.from(image.layers[0]!.blob);
    bytes[bytes.length >> 1]! ^= 1;
    answer(bytes);
    expect(await codeOf(readAll(clientOf()))).toBe('digestMismatch');
  });

  it('says digestMismatch for a short one, with and without an announced length', async () => {
    const short = image.layers[0]!.blob.subarray(0, -1);
    answer(short, { 'content-length': short.length });
    expect(await codeOf(readAll(clientOf()))).toBe('digestMismatch');
    answer(short, { 'transfer-encoding': 'chunked' });
    expect(await codeOf(readAll(clientOf()))).toBe('digestMismatch');
  });

  it('says digestMismatch for a long one, and yields no byte beyond the size', async () => {
    const long = Buffer.concat([image.layers[0]!.blob, Buffer.alloc(100_000)]);
    answer(long, { 'transfer-encoding': 'chunked' });
    let length = 0;
    const read = async () => {
      for await (const chunk of clientOf().openBlob(reference(), { mediaType: '', ...image.layers[0]! })) length += chunk.length;
    };
    expect(await codeOf(read())).toBe('digestMismatch');
    expect(length).toBeLessThanOrEqual(image.layers[0]!.size);
  });

  it('goes on where a cut connection stopped', async () => {
    const { blob } = image.layers[0]!;
    let cuts = 0;
    registry.intercept = (request, response) => {
      if (!isBlob(request) || cuts >= 2) return false;
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      response.writeHead(from ? 206 : 200, {
        'content-length': blob.length - from,
        ...(from ? { 'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}` } : {}),
      });
      response.write(blob.subarray(from, from + 100_000), () => response.destroy());
      cuts++;
      return true;
    };
    expect((await readAll(clientOf())).equals(blob)).toBe(true);
    expect(registry.seen.filter((seen) => seen.headers.range).length).toBe(2);
  });

  it('gives up on a registry that cuts every time', async () => {
    registry.intercept = (request, response) => {
      if (!isBlob(request)) return false;
      response.writeHead(200, { 'content-length': image.layers[0]!.size });
      response.write('x', () => response.destroy());
      return true;
    };
    expect(await codeOf(readAll(clientOf()))).toBe('registryUnavailable');
    expect(registry.seen.length).toBeLessThan(10);
  });

  it('says timeout for a transfer that stalls, and for one that trickles', async () => {
    const { blob, size } = image.layers[0]!;
    registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-length': size });
      response.write(blob.subarray(0, 10));
      return true;
    };
    expect(await codeOf(readAll(clientOf()))).toBe('timeout');
    const timers: NodeJS.Timeout[] = [];
    registry.intercept = (_request, response) => {
      response.writeHead(200, { 'content-length': size });
      let at = 0;
      timers.push(setInterval(() => response.write(blob.subarray(at, ++at)), 20));
      return true;
    };
    expect(await codeOf(readAll(clientOf()))).toBe('timeout');
    for (const timer of timers) clearInterval(timer);
  });

  it('bears a consumer that is slower than the floor', async () => {
    const slow = clientOf({ limits: { ...quick, floor: { windowMs: 60, minBytes: 200 } } });
    let length = 0;
    for await (const chunk of slow.openBlob(reference(), { mediaType: '', ...image.layers[0]! })) {
      length += chunk.length;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(length).toBe(image.layers[0]!.size);
  });
});

describe('tries', () => {
  it('tries again after 503 and 429, no sooner than Retry-After says', async () => {
    const answers = [503, 429];
    registry.intercept = (_request, response) => {
      const status = answers.shift();
      if (status === undefined) return false;
      response.writeHead(status, status === 429 ? { 'retry-after': '1' } : {}).end();
      return true;
    };
    const began = Date.now();
    expect((await clientOf().fetchManifest(reference())).digest).toBe(image.manifestDigest);
    expect(Date.now() - began).toBeGreaterThanOrEqual(1000);
  });

  it('gives up at once on a Retry-After beyond its patience, and after its tries otherwise', async () => {
    registry.intercept = (_request, response) => {
      response.writeHead(429, { 'retry-after': '3600' }).end();
      return true;
    };
    expect(await codeOf(clientOf().fetchManifest(reference()))).toBe('registryUnavailable');
    expect(registry.seen.length).toBe(1);
    registry.intercept = (_request, response) => {
      response.writeHead(500).end();
      return true;
    };
    expect(await codeOf(clientOf().fetchManifest(reference()))).toBe('registryUnavailable');
    expect(registry.seen.length).toBe(1 + quick.attempts);
  });
});

describe('credentials', () => {
  const authorization = `Basic ${Buffer.from('user:secret').toString('base64')}`;

  const challenge = (realm: string) =>
    (registry.intercept = (request, response) => {
      if (request.headers.authorization === 'Bearer good') return false;
      if (request.url?.startsWith('/token')) {
        response.end(JSON.stringify({ token: 'good' }));
        return true;
      }
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="test",scope="repository:evil:delete"` }).end();
      return true;
    });

  it('are traded for a token at the registry’s own realm, for our scope and not the challenge’s', async () => {
    challenge(`${registry.url}/token`);
    await clientOf({ authorization }).fetchManifest(reference());
    const token = registry.seen.find(({ path }) => path.startsWith('/token'));
    expect(token?.headers.authorization).toBe(authorization);
    expect(decodeURIComponent(token?.path ?? '')).toContain('scope=repository:team/app:pull');
    expect(token?.path).not.toContain('evil');
  });

  it('are not sent to a realm on another host; an anonymous token is asked for', async () => {
    challenge(`${other.url}/token`);
    other.intercept = (_request, response) => Boolean(response.end(JSON.stringify({ access_token: 'good' })));
    await clientOf({ authorization }).fetchManifest(reference());
    expect(other.seen).toHaveLength(1);
    expect(other.seen[0]?.headers.authorization).toBeUndefined();
  });

  it('are sent to another host’s realm that the operator trusts', async () => {
    challenge(`${other.url}/token`);
    other.intercept = (_request, response) => Boolean(response.end(JSON.stringify({ token: 'good' })));
    const resolveRegistry = (host: string) => ({ url: `http://${host}`, allowInternal: true, tokenRealms: [other.url] });
    await clientOf({ authorization, resolveRegistry }).fetchManifest(reference());
    expect(other.seen[0]?.headers.authorization).toBe(authorization);
  });

  it('do not follow a redirect to another host, nor does a token', async () => {
    for (const credential of [authorization, 'Bearer good']) {
      registry.reset();
      other.reset();
      other.addBlob(image.layers[0]!.blob);
      registry.intercept = (request, response) => {
        if (!isBlob(request)) return false;
        response.writeHead(307, { location: `${other.url}/blobs/${image.layers[0]!.digest}` }).end();
        return true;
      };
      await readAll(clientOf({ authorization: credential }));
      expect(registry.seen[0]?.headers.authorization).toBe(credential);
      expect(other.seen).toHaveLength(1);
      expect(other.seen[0]?.headers.authorization).toBeUndefined();
    }
  });

  it('stay with a redirect within the registry', async () => {
    registry.intercept = (request, response) => {
      if (!isBlob(request) || request.url?.startsWith('/elsewhere')) return false;
      response.writeHead(302, { location: `/elsewhere/blobs/${image.layers[0]!.digest}` }).end();
      return true;
    };
    await readAll(clientOf({ authorization }));
    expect(registry.seen.at(-1)?.headers.authorization).toBe(authorization);
  });

  it('belong to one registry; the client speaks to no second one', async () => {
    const client = clientOf({ authorization });
    await client.fetchManifest(reference());
    await expect(client.fetchManifest({ ...reference(), registry: other.host })).rejects.toThrow('another registry');
    expect(other.seen).toHaveLength(0);
  });

  it('that are refused say unauthorized, with no word of them', async () => {
    registry.intercept = (_request, response) => Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end());
    const refused = clientOf({ authorization }).fetchManifest(reference());
    await expect(refused).rejects.toMatchObject({ code: 'unauthorized', message: expect.not.stringContaining('secret') });
  });
});

describe('addresses', () => {
  it('of registries are refused when internal, by number and by name', async () => {
    const port = registry.host.split(':')[1];
    for (const host of [
      registry.host,
      `localhost:${port}`,
      `[::1]:${port}`,
      `[::ffff:127.0.0.1]:${port}`,
      `2130706433:${port}`,
      `0x7f.1:${port}`,
    ]) {
      const client = clientOf({ resolveRegistry: () => ({ url: `http://${host}`, allowInternal: false }), internalOrigins: [] });
      expect(await codeOf(client.fetchManifest(reference())), host).toBe('addressDenied');
    }
    expect(registry.seen).toHaveLength(0);
  });

  it('of redirects are judged anew, each hop', async () => {
    registry.intercept = (_request, response) => Boolean(response.writeHead(302, { location: `${other.url}/x` }).end());
    expect(await codeOf(clientOf({ internalOrigins: [] }).fetchManifest(reference()))).toBe('addressDenied');
    expect(other.seen).toHaveLength(0);
    registry.intercept = (_request, response) => Boolean(response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end());
    expect(await codeOf(clientOf({ internalOrigins: [] }).fetchManifest(reference()))).toBe('addressDenied');
  });

  it('of token realms are judged too', async () => {
    registry.intercept = (_request, response) =>
      Boolean(response.writeHead(401, { 'www-authenticate': `Bearer realm="${other.url}/token"` }).end());
    expect(await codeOf(clientOf({ internalOrigins: [] }).fetchManifest(reference()))).toBe('addressDenied');
    expect(other.seen).toHaveLength(0);
  });

  it('reached in circles end', async () => {
    registry.intercept = (_request, response) => Boolean(response.writeHead(302, { location: '/v2/again' }).end());
    expect(await codeOf(clientOf().fetchManifest(reference()))).toBe('registryUnavailable');
    expect(registry.seen.length).toBeLessThan(50);
  });
});

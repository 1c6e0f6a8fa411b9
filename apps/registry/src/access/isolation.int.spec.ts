import { digestOf } from '@berth/core';
import { eventually } from '@berth/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode, imageType } from '../testing/registry-client.js';
import { basic, type RegistryUnderTest, startRegistryUnderTest, type TestTenant } from '../testing/registry-under-test.js';

let registry: RegistryUnderTest;
let acme: TestTenant;
let rival: TestTenant;
let image: { digest: string; layer: string; config: string; bytes: Buffer };

beforeAll(async () => {
  registry = await startRegistryUnderTest();
  acme = await registry.tenant('acme');
  rival = await registry.tenant('rival');
  image = await acme.client.pushImage('acme/web', 'v1', 'secret of acme');
  await rival.client.pushImage('rival/own', 'v1', 'of rival');
});
afterAll(() => registry.close());

/** Everything about an answer that could tell a client something, but for the time. */
async function visible(response: Response): Promise<unknown> {
  const headers = Object.fromEntries([...response.headers].filter(([name]) => name !== 'date'));
  return { status: response.status, headers, body: await response.text() };
}

describe('one tenant before another', () => {
  it('gets for a repository of theirs, on every endpoint, the answer for one that does not exist', async () => {
    const upload = await acme.client.begin('acme/web');
    const paths: [string, string][] = [
      ['GET', `/v2/REPOSITORY/blobs/${image.layer}`],
      ['HEAD', `/v2/REPOSITORY/blobs/${image.layer}`],
      ['DELETE', `/v2/REPOSITORY/blobs/${image.layer}`],
      ['POST', '/v2/REPOSITORY/blobs/uploads/'],
      ['POST', `/v2/REPOSITORY/blobs/uploads/?digest=${image.layer}`],
      ['POST', `/v2/REPOSITORY/blobs/uploads/?mount=${image.layer}&from=rival/own`],
      ['GET', `/v2/REPOSITORY/blobs/uploads/${upload.split('/').at(-1)}`],
      ['PATCH', `/v2/REPOSITORY/blobs/uploads/${upload.split('/').at(-1)}`],
      ['PUT', `/v2/REPOSITORY/blobs/uploads/${upload.split('/').at(-1)}?digest=${image.layer}`],
      ['DELETE', `/v2/REPOSITORY/blobs/uploads/${upload.split('/').at(-1)}`],
      ['GET', '/v2/REPOSITORY/manifests/v1'],
      ['HEAD', '/v2/REPOSITORY/manifests/v1'],
      ['GET', `/v2/REPOSITORY/manifests/${image.digest}`],
      ['PUT', '/v2/REPOSITORY/manifests/v1'],
      ['DELETE', '/v2/REPOSITORY/manifests/v1'],
      ['GET', '/v2/REPOSITORY/tags/list'],
      ['GET', `/v2/REPOSITORY/referrers/${image.digest}`],
    ];
    for (const [method, path] of paths) {
      const theirs = await visible(await rival.client.send(method, path.replace('REPOSITORY', 'acme/web')));
      const missing = await visible(await rival.client.send(method, path.replace('REPOSITORY', 'nobody/web')));
      expect([method, path, theirs]).toEqual([method, path, missing]);
      expect((theirs as { status: number }).status).toBe(404);
    }
    expect(await acme.client.status('GET', upload)).toBe(204);
    expect(await acme.client.status('GET', '/v2/acme/web/manifests/v1')).toBe(200);
  });

  it('cannot find, mount or refer to a blob that only they hold', async () => {
    const unknown = digestOf('held by nobody');
    for (const digest of [image.layer, unknown]) {
      expect(await rival.client.status('HEAD', `/v2/rival/own/blobs/${digest}`)).toBe(404);
      const mount = await rival.client.send('POST', `/v2/rival/own/blobs/uploads/?mount=${digest}&from=acme/web`);
      expect([mount.status, mount.headers.get('docker-content-digest')]).toEqual([202, null]);
      const without = await rival.client.send('POST', `/v2/rival/own/blobs/uploads/?mount=${digest}`);
      expect(without.status).toBe(202);
    }
    const pushed = await rival.client.send('PUT', '/v2/rival/own/manifests/stolen', {
      body: image.bytes,
      headers: { 'content-type': imageType },
    });
    expect([pushed.status, await errorCode(pushed)]).toEqual([404, 'MANIFEST_BLOB_UNKNOWN']);
  });

  it('must bring every byte of what they hold, and is answered as if it were new', async () => {
    const known = await rival.client.putBlob('rival/own', Buffer.from('secret of acme'));
    const fresh = await rival.client.putBlob('rival/own', Buffer.from('known to nobody'));
    const shape = (response: Response): unknown => [response.status, [...response.headers.keys()].sort()];
    expect(shape(known)).toEqual(shape(fresh));
    expect((await rival.client.putBlob('rival/own', Buffer.from('x'), image.config)).status).toBe(400);
    expect(await rival.client.status('HEAD', `/v2/rival/own/blobs/${image.config}`)).toBe(404);
  });

  it('keeps its blob when the other deletes the same bytes', async () => {
    const digest = await rival.client.pushBlob('rival/own', 'common bytes');
    await acme.client.pushBlob('acme/web', 'common bytes');
    expect(await acme.client.status('DELETE', `/v2/acme/web/blobs/${digest}`)).toBe(202);
    expect(await acme.client.status('HEAD', `/v2/acme/web/blobs/${digest}`)).toBe(404);
    expect(await rival.client.status('GET', `/v2/rival/own/blobs/${digest}`)).toBe(200);
  });

  it('sees only its own repositories in the catalog', async () => {
    await acme.client.pushImage('acme/deep/er', 'v1', 'x');
    const list = async (authorization: string, query = ''): Promise<unknown> =>
      (await registry.client(authorization).send('GET', `/v2/_catalog${query}`)).json();
    expect(await list(basic(acme.key))).toEqual({ repositories: ['acme/deep/er', 'acme/web'] });
    expect(await list(basic(acme.key), '?n=1')).toEqual({ repositories: ['acme/deep/er'] });
    expect(await list(basic(rival.key))).toEqual({ repositories: ['rival/own'] });
    expect(await list(basic(await registry.adminKey()))).toEqual({ repositories: ['acme/deep/er', 'acme/web', 'rival/own'] });
  });
});

describe("a token of a tenant's", () => {
  it('lists what the tenant has, manifests without a tag too, and does no more than it names', async () => {
    const steward = registry.client(`Bearer ${registry.tenantToken('acme', ['pull', 'delete'])}`);
    const old = await acme.client.pushImage('acme/moved', 'v1', 'old');
    const moved = await acme.client.pushImage('acme/moved', 'v1', 'new');
    const list = async (query = '') => {
      const response = await steward.send('GET', `/v2/_berth/images${query}`);
      return {
        next: response.headers.get('link'),
        images: ((await response.json()) as { images: { repository: string; digest: string }[] }).images,
      };
    };
    const { images } = await list();
    expect(images.filter(({ repository }) => !repository.startsWith('acme/'))).toEqual([]);
    const found = (digest: string) => images.find((one) => one.digest === digest);
    expect(found(moved.digest)).toMatchObject({ repository: 'acme/moved', tags: ['v1'], blobs: [{}, { digest: moved.layer }] });
    expect(found(old.digest)).toMatchObject({ repository: 'acme/moved', tags: [] });
    const [first] = (await list('?n=1')).images;
    expect(first).toEqual(images[0]);
    expect((await list('?n=1')).next).toContain('/v2/_berth/images?n=1&last=');
    expect(await steward.status('POST', '/v2/acme/moved/blobs/uploads/')).toBe(403);
    expect(await steward.status('GET', '/v2/rival/own/manifests/v1')).toBe(404);
    expect(await steward.status('DELETE', `/v2/acme/moved/manifests/${old.digest}`)).toBe(202);
    expect((await list()).images).toHaveLength(images.length - 1);
  });

  it('is not needed by the tenant itself, and single repositories give no list', async () => {
    const own = (await (await acme.client.send('GET', '/v2/_berth/images')).json()) as { images: object[] };
    expect(own.images.length).toBeGreaterThan(0);
    expect(await registry.client(`Bearer ${registry.pullToken(['acme/web'])}`).status('GET', '/v2/_berth/images')).toBe(403);
  });
});

describe('the admin key', () => {
  it('reads everything and changes nothing', async () => {
    const admin = registry.client(basic(await registry.adminKey()));
    expect(await admin.status('GET', '/v2/acme/web/manifests/v1')).toBe(200);
    expect(await admin.status('GET', `/v2/acme/web/blobs/${image.layer}`)).toBe(200);
    for (const [method, path] of [
      ['POST', '/v2/acme/web/blobs/uploads/'],
      ['PUT', '/v2/acme/web/manifests/v1'],
      ['DELETE', '/v2/acme/web/manifests/v1'],
      ['DELETE', `/v2/acme/web/blobs/${image.layer}`],
    ] as const) {
      const response = await admin.send(method, path);
      expect([method, path, response.status, await errorCode(response)]).toEqual([method, path, 403, 'DENIED']);
    }
  });
});

describe('a pull token', () => {
  it('pulls what it names and nothing else', async () => {
    for (const authorization of [`Bearer ${registry.pullToken(['acme/web'])}`, basic(registry.pullToken(['acme/web']))]) {
      const node = registry.client(authorization);
      expect(await node.status('GET', '/v2/')).toBe(200);
      expect(await node.status('GET', '/v2/acme/web/manifests/v1')).toBe(200);
      expect(await node.status('GET', `/v2/acme/web/blobs/${image.layer}`)).toBe(200);
      expect(await node.status('GET', '/v2/acme/deep/er/manifests/v1')).toBe(404);
      expect(await node.status('GET', '/v2/rival/own/manifests/v1')).toBe(404);
      expect(await node.status('POST', '/v2/acme/web/blobs/uploads/')).toBe(403);
      expect(await node.status('DELETE', '/v2/acme/web/manifests/v1')).toBe(403);
      expect(await node.status('GET', '/v2/_catalog')).toBe(403);
    }
  });

  it('is worth nothing once expired, changed, or signed by another', async () => {
    const token = registry.pullToken(['acme/web']);
    const [claims = '', signature = ''] = token.slice('bpull_'.length).split('.');
    const forged = Buffer.from(claims, 'base64url').toString().replace('acme/web', 'rival/own');
    for (const bad of [
      registry.pullToken(['acme/web'], 1000),
      `bpull_${Buffer.from(forged).toString('base64url')}.${signature}`,
      `bpull_${claims}.${Buffer.alloc(32).toString('base64url')}`,
      `bpull_${claims}.`,
    ]) {
      expect(await registry.client(`Bearer ${bad}`).status('GET', '/v2/acme/web/manifests/v1')).toBe(401);
    }
  });
});

describe('an API key', () => {
  it('is asked for on every path, known or not, before anything is looked at', async () => {
    const wrong = [null, 'Basic x', basic('nonsense'), basic(`berth_${'0'.repeat(32)}`), `Bearer berth_${'0'.repeat(32)}`, 'Digest x'];
    for (const authorization of wrong) {
      const stranger = registry.client(authorization);
      for (const path of ['/v2/', '/v2/acme/web/manifests/v1', '/v2/acme/none/manifests/v1', '/v2/nonsense', '/v2/_catalog']) {
        const response = await stranger.send('GET', path);
        expect([authorization, path, response.status, response.headers.get('www-authenticate')]).toEqual([
          authorization,
          path,
          401,
          'Basic realm="berth"',
        ]);
      }
    }
  });

  it('works as Basic password and as Bearer', async () => {
    for (const authorization of [basic(acme.key), `Bearer ${acme.key}`])
      expect(await registry.client(authorization).status('GET', '/v2/acme/web/manifests/v1')).toBe(200);
  });

  it('stops working soon after it is revoked, in the middle of a push too', async () => {
    const leaver = await registry.tenant('leaver');
    const location = await leaver.client.begin('leaver/web');
    const url = new URL(location, registry.url);
    let send: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({
      start(controller): void {
        send = controller;
      },
    });
    const push = leaver.client.send('PUT', `${url.pathname}?digest=${digestOf('first half, second half')}`, { body });
    send?.enqueue(Buffer.from('first half, '));
    await registry.store.apiKeys.revoke(leaver.id, leaver.keyId);
    await eventually(async () => expect(await leaver.client.status('GET', '/v2/')).toBe(401));
    send?.enqueue(Buffer.from('second half'));
    send?.close();
    expect((await push).status).toBe(401);
  });

  it('is in no line of the log', () => {
    const log = registry.log.join('');
    expect(log).toContain('"endpoint":"manifest"');
    for (const secret of [acme.key, rival.key, basic(acme.key).slice(6), 'bpull_']) expect(log).not.toContain(secret);
  });
});

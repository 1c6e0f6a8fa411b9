import { digestOf } from '@berth/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { emptyDigest, errorCode, imageOf, imageType, indexType, type RegistryClient } from '../testing/registry-client.js';
import { type RegistryUnderTest, startRegistryUnderTest } from '../testing/registry-under-test.js';

/* The cases of the distribution specification 1.1, in the order of its chapters: pull, push, content discovery, content management. */

let registry: RegistryUnderTest;
let client: RegistryClient;
const unknown = digestOf('never pushed');

beforeAll(async () => {
  registry = await startRegistryUnderTest();
  client = (await registry.tenant('acme')).client;
});
afterAll(() => registry.close());

describe('the base', () => {
  it('answers who may come in, and asks everyone else to log in', async () => {
    const welcome = await client.send('GET', '/v2/');
    expect(welcome.status).toBe(200);
    expect(welcome.headers.get('docker-distribution-api-version')).toBe('registry/2.0');
    const stranger = await registry.client(null).send('GET', '/v2/');
    expect(stranger.status).toBe(401);
    expect(stranger.headers.get('www-authenticate')).toBe('Basic realm="berth"');
    expect(await errorCode(stranger)).toBe('UNAUTHORIZED');
  });

  it('answers 404 for paths it does not know and 405 for methods', async () => {
    expect(await client.status('GET', '/')).toBe(404);
    expect(await client.status('GET', '/v2/acme/web')).toBe(404);
    const response = await client.send('POST', '/v2/acme/web/tags/list');
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET']);
  });
});

describe('pull', () => {
  it('answers blobs with their digest, length and exact bytes', async () => {
    const digest = await client.pushBlob('acme/pull', 'some bytes');
    for (const method of ['GET', 'HEAD']) {
      const response = await client.send(method, `/v2/acme/pull/blobs/${digest}`);
      expect(response.status).toBe(200);
      expect(response.headers.get('docker-content-digest')).toBe(digest);
      expect(response.headers.get('content-length')).toBe('10');
      expect(await response.text()).toBe(method === 'GET' ? 'some bytes' : '');
    }
  });

  it('answers ranges of blobs', async () => {
    const digest = await client.pushBlob('acme/pull', '0123456789');
    const get = (range: string): Promise<Response> => client.send('GET', `/v2/acme/pull/blobs/${digest}`, { headers: { range } });
    const part = await get('bytes=2-4');
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 2-4/10', '234']);
    expect(await (await get('bytes=7-')).text()).toBe('789');
    expect(await (await get('bytes=-2')).text()).toBe('89');
    const beyond = await get('bytes=10-');
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, 'bytes */10']);
    expect((await get('bytes=0-1,3-4')).status).toBe(200);
  });

  it('answers 304 for what the client has', async () => {
    const digest = await client.pushBlob('acme/pull', 'cached');
    const response = await client.send('GET', `/v2/acme/pull/blobs/${digest}`, { headers: { 'if-none-match': `"${digest}"` } });
    expect(response.status).toBe(304);
  });

  it('answers the empty blob', async () => {
    await client.pushBlob('acme/pull', '');
    const response = await client.send('GET', `/v2/acme/pull/blobs/${emptyDigest}`);
    expect([response.status, await response.text()]).toEqual([200, '']);
  });

  it('answers manifests by tag and by digest, byte for byte and with the pushed type', async () => {
    const { digest, bytes } = await client.pushImage('acme/pull', 'v1', 'layer');
    for (const reference of ['v1', digest]) {
      for (const method of ['GET', 'HEAD']) {
        const response = await client.send(method, `/v2/acme/pull/manifests/${reference}`);
        expect(response.status).toBe(200);
        expect(response.headers.get('content-type')).toBe(imageType);
        expect(response.headers.get('docker-content-digest')).toBe(digest);
        expect(response.headers.get('content-length')).toBe(String(bytes.length));
        expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(method === 'GET');
      }
    }
  });

  it('answers 404 with the right code for what is not there', async () => {
    await client.pushImage('acme/pull', 'v1', 'layer');
    const code = async (path: string): Promise<string> => errorCode(await client.send('GET', path));
    expect(await code(`/v2/acme/pull/blobs/${unknown}`)).toBe('BLOB_UNKNOWN');
    expect(await code('/v2/acme/pull/manifests/none')).toBe('MANIFEST_UNKNOWN');
    expect(await code(`/v2/acme/pull/manifests/${unknown}`)).toBe('MANIFEST_UNKNOWN');
    expect(await code('/v2/acme/none/manifests/none')).toBe('NAME_UNKNOWN');
    expect(await client.status('HEAD', `/v2/acme/pull/blobs/${unknown}`)).toBe(404);
    expect(await client.status('HEAD', '/v2/acme/pull/manifests/none')).toBe(404);
  });
});

describe('push of blobs', () => {
  it('takes one POST with everything', async () => {
    const digest = digestOf('at once');
    const response = await client.send('POST', `/v2/acme/push/blobs/uploads/?digest=${digest}`, { body: 'at once' });
    expect([response.status, response.headers.get('location')]).toEqual([201, `/v2/acme/push/blobs/${digest}`]);
    expect(await client.status('HEAD', `/v2/acme/push/blobs/${digest}`)).toBe(200);
  });

  it('takes POST, then PUT with everything', async () => {
    const response = await client.putBlob('acme/push', Buffer.from('post then put'));
    expect(response.status).toBe(201);
    expect(await client.status('GET', response.headers.get('location') ?? '')).toBe(200);
  });

  it('takes one PATCH that streams without a length, then an empty PUT', async () => {
    const location = await client.begin('acme/push');
    const body = new ReadableStream({
      start(controller): void {
        for (const text of ['streamed ', 'with no ', 'length']) controller.enqueue(Buffer.from(text));
        controller.close();
      },
    });
    const patch = await client.send('PATCH', location, { body, headers: { 'content-type': 'application/octet-stream' } });
    expect([patch.status, patch.headers.get('range')]).toEqual([202, '0-22']);
    const put = await client.send('PUT', `${patch.headers.get('location')}?digest=${digestOf('streamed with no length')}`);
    expect(put.status).toBe(201);
  });

  it('takes chunks in order, the last one with the PUT', async () => {
    const location = await client.begin('acme/push');
    const chunk = (method: string, path: string, first: number, text: string): Promise<Response> =>
      client.send(method, path, { body: text, headers: { 'content-range': `${first}-${first + text.length - 1}` } });
    const one = await chunk('PATCH', location, 0, 'one ');
    expect([one.status, one.headers.get('range')]).toEqual([202, '0-3']);
    const early = await chunk('PATCH', location, 8, 'three');
    expect([early.status, early.headers.get('range')]).toEqual([416, '0-3']);
    expect((await chunk('PATCH', location, 0, 'one ')).status).toBe(416);
    expect((await chunk('PATCH', location, 4, 'two ')).status).toBe(202);
    const status = await client.send('GET', location);
    expect([status.status, status.headers.get('range'), status.headers.get('location')]).toEqual([204, '0-7', location]);
    const put = await chunk('PUT', `${location}?digest=${digestOf('one two three')}`, 8, 'three');
    expect(put.status).toBe(201);
    expect(await client.status('GET', location)).toBe(404);
    const blob = await client.send('GET', put.headers.get('location') ?? '');
    expect(await blob.text()).toBe('one two three');
  });

  it.each(['bytes 0-3/4', 'x', '3-0', '0-'])('answers 416 for the Content-Range %j', async (range) => {
    const location = await client.begin('acme/push');
    expect((await client.send('PATCH', location, { body: 'four', headers: { 'content-range': range } })).status).toBe(416);
  });

  it('keeps nothing of a chunk whose length is not what its Content-Range says', async () => {
    const location = await client.begin('acme/push');
    const stream = (text: string): ReadableStream => new Blob([text]).stream();
    for (const text of ['abc', 'abcde']) {
      const response = await client.send('PATCH', location, { body: stream(text), headers: { 'content-range': '0-3' } });
      expect([text, response.status, await errorCode(response)]).toEqual([text, 400, 'SIZE_INVALID']);
    }
    expect((await client.send('PATCH', location, { body: stream('abcd'), headers: { 'content-range': '0-3' } })).status).toBe(202);
    expect((await client.send('PUT', `${location}?digest=${digestOf('abcd')}`)).status).toBe(201);
  });

  it('refuses flipped, short and long bytes, and then knows neither the blob nor the upload', async () => {
    const digest = digestOf('the true bytes');
    for (const bytes of ['the trve bytes', 'the true byte', 'the true bytes.', '']) {
      const location = await client.begin('acme/push');
      const response = await client.send('PUT', `${location}?digest=${digest}`, { body: bytes });
      expect([response.status, await errorCode(response)]).toEqual([400, 'DIGEST_INVALID']);
      expect(await client.status('GET', location)).toBe(404);
      const post = await client.send('POST', `/v2/acme/push/blobs/uploads/?digest=${digest}`, { body: bytes });
      expect([post.status, await errorCode(post)]).toEqual([400, 'DIGEST_INVALID']);
    }
    expect(await client.status('HEAD', `/v2/acme/push/blobs/${digest}`)).toBe(404);
  });

  it.each(['', 'sha256:zz', 'sha512:00', `sha256:${'A'.repeat(64)}`])('refuses to finish an upload as %j', async (digest) => {
    const location = await client.begin('acme/push');
    const response = await client.send('PUT', `${location}?digest=${digest}`, { body: 'x' });
    expect([response.status, await errorCode(response)]).toEqual([400, 'DIGEST_INVALID']);
  });

  it('cancels an upload', async () => {
    const location = await client.begin('acme/push');
    expect(await client.status('DELETE', location)).toBe(204);
    expect(await client.status('DELETE', location)).toBe(404);
    expect(await client.status('PATCH', location)).toBe(404);
    expect(await client.status('PUT', `${location}?digest=${emptyDigest}`)).toBe(404);
  });

  it('knows an upload only under its own repository', async () => {
    const location = await client.begin('acme/push');
    expect(await client.status('GET', location.replace('acme/push', 'acme/pull'))).toBe(404);
    expect(await client.status('GET', '/v2/acme/push/blobs/uploads/none')).toBe(404);
  });

  it('mounts a blob of another repository, and begins an upload when there is none', async () => {
    const digest = await client.pushBlob('acme/source', 'to be mounted');
    const mount = (query: string): Promise<Response> => client.send('POST', `/v2/acme/target/blobs/uploads/?${query}`);
    expect(await client.status('HEAD', `/v2/acme/target/blobs/${digest}`)).toBe(404);
    const response = await mount(`mount=${digest}&from=acme/source`);
    expect([response.status, response.headers.get('location')]).toEqual([201, `/v2/acme/target/blobs/${digest}`]);
    expect(await client.status('GET', `/v2/acme/target/blobs/${digest}`)).toBe(200);
    for (const query of [
      `mount=${unknown}&from=acme/source`,
      `mount=${digest}&from=acme/none`,
      `mount=${digest}&from=../x`,
      `mount=${unknown}`,
    ]) {
      const other = await mount(query);
      expect([query, other.status]).toEqual([query, 202]);
      expect(other.headers.get('location')).toMatch(/^\/v2\/acme\/target\/blobs\/uploads\//);
    }
    expect((await mount('mount=nonsense&from=acme/source')).status).toBe(400);
  });
});

describe('push of manifests', () => {
  it('takes an image by tag and by digest, and several tags at once', async () => {
    const { digest, response } = await client.pushImage('acme/manifests', 'v1', 'content');
    expect(response.headers.get('location')).toBe(`/v2/acme/manifests/manifests/${digest}`);
    expect(response.headers.get('docker-content-digest')).toBe(digest);
    const manifest = imageOf('{"of":"content"}', ['content']);
    expect((await client.putManifest('acme/manifests', '', manifest)).response.status).toBe(201);
    const tagged = await client.putManifest('acme/manifests', `${digest}?tag=a&tag=b`, manifest);
    expect(tagged.response.headers.get('oci-tag')).toBe('a, b');
    expect(await client.status('HEAD', '/v2/acme/manifests/manifests/b')).toBe(200);
  });

  it('refuses one that names what the repository does not hold', async () => {
    await client.pushBlob('acme/manifests', 'config');
    const { response } = await client.putManifest('acme/manifests', 'bad', imageOf('config', ['missing layer']));
    expect([response.status, await errorCode(response)]).toEqual([404, 'MANIFEST_BLOB_UNKNOWN']);
    const child = { mediaType: imageType, digest: unknown, size: 3 };
    const index = await client.putManifest('acme/manifests', 'bad', { schemaVersion: 2, manifests: [child] }, indexType);
    expect(await errorCode(index.response)).toBe('MANIFEST_BLOB_UNKNOWN');
    expect(await client.status('HEAD', '/v2/acme/manifests/manifests/bad')).toBe(404);
  });

  it('refuses one whose sizes or types are not those of what it names', async () => {
    await client.pushBlob('acme/manifests', 'config');
    const wrong = imageOf('config', []) as { config: { size: number } };
    wrong.config.size += 1;
    expect(await errorCode((await client.putManifest('acme/manifests', 'bad', wrong)).response)).toBe('MANIFEST_INVALID');
    const { digest, bytes } = await client.pushImage('acme/manifests', 'v1', 'content');
    const child = { mediaType: indexType, digest, size: bytes.length };
    const index = await client.putManifest('acme/manifests', 'bad', { schemaVersion: 2, manifests: [child] }, indexType);
    expect(await errorCode(index.response)).toBe('MANIFEST_INVALID');
  });

  it('refuses a content type that the manifest contradicts, another digest, a bad tag, nonsense', async () => {
    await client.pushBlob('acme/manifests', 'config');
    const manifest = imageOf('config', []);
    const docker = 'application/vnd.docker.distribution.manifest.v2+json';
    expect(await errorCode((await client.putManifest('acme/manifests', 'bad', manifest, docker)).response)).toBe('MANIFEST_INVALID');
    expect(await errorCode((await client.putManifest('acme/manifests', unknown, manifest)).response)).toBe('DIGEST_INVALID');
    expect(await errorCode((await client.putManifest('acme/manifests', '-bad', manifest)).response)).toBe('TAG_INVALID');
    const garbage = await client.send('PUT', '/v2/acme/manifests/manifests/bad', { body: '{', headers: { 'content-type': imageType } });
    expect(await errorCode(garbage)).toBe('MANIFEST_INVALID');
  });

  it('takes 4 MiB and no more', async () => {
    await client.pushBlob('acme/manifests', 'config');
    const sized = (length: number): Record<string, unknown> => {
      const empty = imageOf('config', [], { padding: '' });
      return { ...empty, padding: 'x'.repeat(length - Buffer.byteLength(JSON.stringify(empty))) };
    };
    const limit = 4 * 1024 * 1024;
    expect((await client.putManifest('acme/manifests', 'big', sized(limit))).response.status).toBe(201);
    expect((await client.putManifest('acme/manifests', 'big', sized(limit + 1))).response.status).toBe(413);
    const bytes = new Blob([JSON.stringify(sized(limit + 1))]).stream();
    const streamed = await client.send('PUT', '/v2/acme/manifests/manifests/big', { body: bytes, headers: { 'content-type': imageType } });
    expect(streamed.status).toBe(413);
  });

  it('moves a tag, and readers see the one or the other manifest, always whole', async () => {
    const a = await client.pushImage('acme/moving', 'latest', 'a');
    const b = await client.pushImage('acme/moving', 'latest', 'b');
    let stop = false;
    const readers = Array.from({ length: 4 }, async () => {
      const seen = new Set<string>();
      while (!stop) {
        const response = await client.send('GET', '/v2/acme/moving/manifests/latest');
        expect(response.status).toBe(200);
        const digest = digestOf(Buffer.from(await response.arrayBuffer()));
        expect(response.headers.get('docker-content-digest')).toBe(digest);
        seen.add(digest);
      }
      return seen;
    });
    for (let turn = 0; turn < 20; turn += 1) {
      const { bytes } = turn % 2 === 0 ? a : b;
      await client.send('PUT', '/v2/acme/moving/manifests/latest', { body: bytes, headers: { 'content-type': imageType } });
    }
    stop = true;
    for (const seen of await Promise.all(readers)) for (const digest of seen) expect([a.digest, b.digest]).toContain(digest);
    expect(await client.status('GET', `/v2/acme/moving/manifests/${a.digest}`)).toBe(200);
  });
});

describe('content discovery', () => {
  it('lists tags in order, in pages with links, and 404 for no repository', async () => {
    const { bytes } = await client.pushImage('acme/tags', 'c', 'content');
    for (const tag of ['a', 'd', 'B', 'b']) {
      await client.send('PUT', `/v2/acme/tags/manifests/${tag}`, { body: bytes, headers: { 'content-type': imageType } });
    }
    const list = async (query: string): Promise<{ tags: string[]; link: string | null }> => {
      const response = await client.send('GET', `/v2/acme/tags/tags/list${query}`);
      return { tags: ((await response.json()) as { tags: string[] }).tags, link: response.headers.get('link') };
    };
    expect(await list('')).toEqual({ tags: ['B', 'a', 'b', 'c', 'd'], link: null });
    expect(await list('?n=2')).toEqual({ tags: ['B', 'a'], link: '</v2/acme/tags/tags/list?n=2&last=a>; rel="next"' });
    expect(await list('?n=2&last=a')).toEqual({ tags: ['b', 'c'], link: '</v2/acme/tags/tags/list?n=2&last=c>; rel="next"' });
    expect(await list('?n=2&last=c')).toEqual({ tags: ['d'], link: null });
    expect(await list('?n=0')).toEqual({ tags: [], link: null });
    expect(await list('?last=c')).toEqual({ tags: ['d'], link: null });
    expect(await errorCode(await client.send('GET', '/v2/acme/tags/tags/list?n=x'))).toBe('PAGINATION_INVALID');
    expect(await errorCode(await client.send('GET', '/v2/acme/none/tags/list'))).toBe('NAME_UNKNOWN');
  });

  it('lists referrers, filtered when asked, whether the subject exists or not', async () => {
    const image = await client.pushImage('acme/referrers', 'v1', 'subject');
    const subject = { mediaType: imageType, digest: image.digest, size: image.bytes.length };
    const sbom = await client.pushImage('acme/referrers', 'sbom', 'sbom', {
      subject,
      artifactType: 'application/x.sbom',
      annotations: { a: 'b' },
    });
    expect(sbom.response.headers.get('oci-subject')).toBe(image.digest);
    const signature = await client.pushImage('acme/referrers', 'signature', 'signature', { subject });
    const index = { schemaVersion: 2, mediaType: indexType, manifests: [], subject };
    const pushedIndex = await client.putManifest('acme/referrers', '', index, indexType);

    const list = (query = ''): Promise<Response> => client.send('GET', `/v2/acme/referrers/referrers/${image.digest}${query}`);
    const all = await list();
    expect([all.status, all.headers.get('content-type'), all.headers.get('oci-filters-applied')]).toEqual([200, indexType, null]);
    const { manifests, ...rest } = (await all.json()) as { manifests: { digest: string }[] };
    expect(rest).toEqual({ schemaVersion: 2, mediaType: indexType });
    const byDigest = new Map(manifests.map((descriptor) => [descriptor.digest, descriptor]));
    expect(byDigest.get(sbom.digest)).toEqual({
      mediaType: imageType,
      digest: sbom.digest,
      size: sbom.bytes.length,
      artifactType: 'application/x.sbom',
      annotations: { a: 'b' },
    });
    expect(byDigest.get(signature.digest)).toMatchObject({ artifactType: 'application/vnd.oci.image.config.v1+json' });
    expect(byDigest.get(pushedIndex.digest)).toEqual({ mediaType: indexType, digest: pushedIndex.digest, size: pushedIndex.bytes.length });
    expect(byDigest.size).toBe(3);

    const filtered = await list('?artifactType=application/x.sbom');
    expect(filtered.headers.get('oci-filters-applied')).toBe('artifactType');
    expect(((await filtered.json()) as { manifests: unknown[] }).manifests).toHaveLength(1);
    const page = await list('?n=2');
    expect(page.headers.get('link')).toMatch(/rel="next"$/);

    expect(await client.status('DELETE', `/v2/acme/referrers/manifests/${sbom.digest}`)).toBe(202);
    expect(((await (await list()).json()) as { manifests: unknown[] }).manifests).toHaveLength(2);
    const none = await client.send('GET', `/v2/acme/none/referrers/${unknown}`);
    expect([none.status, ((await none.json()) as { manifests: unknown[] }).manifests]).toEqual([200, []]);
    expect(await client.status('GET', '/v2/acme/referrers/referrers/latest')).toBe(400);
  });
});

describe('content management', () => {
  it('deletes a tag and leaves the manifest', async () => {
    const { digest } = await client.pushImage('acme/delete', 'gone', 'content');
    expect(await client.status('DELETE', '/v2/acme/delete/manifests/gone')).toBe(202);
    expect(await client.status('GET', '/v2/acme/delete/manifests/gone')).toBe(404);
    expect(await client.status('GET', `/v2/acme/delete/manifests/${digest}`)).toBe(200);
    expect(await client.status('DELETE', '/v2/acme/delete/manifests/gone')).toBe(404);
  });

  it('deletes a manifest with all its tags, then its blobs', async () => {
    const { digest, layer } = await client.pushImage('acme/delete2', 'one', 'content');
    await client.pushImage('acme/delete2', 'two', 'content');
    expect(await client.status('DELETE', `/v2/acme/delete2/blobs/${layer}`)).toBe(405);
    expect(await client.status('DELETE', `/v2/acme/delete2/manifests/${digest}`)).toBe(202);
    for (const reference of ['one', 'two', digest]) expect(await client.status('GET', `/v2/acme/delete2/manifests/${reference}`)).toBe(404);
    expect(await client.status('DELETE', `/v2/acme/delete2/manifests/${digest}`)).toBe(404);
    expect(await client.status('DELETE', `/v2/acme/delete2/blobs/${layer}`)).toBe(202);
    expect(await client.status('GET', `/v2/acme/delete2/blobs/${layer}`)).toBe(404);
    expect(await client.status('DELETE', `/v2/acme/delete2/blobs/${layer}`)).toBe(404);
  });

  it('keeps a manifest that an index names', async () => {
    const { digest, bytes } = await client.pushImage('acme/delete3', '', 'content');
    const index = { schemaVersion: 2, mediaType: indexType, manifests: [{ mediaType: imageType, digest, size: bytes.length }] };
    const pushed = await client.putManifest('acme/delete3', 'multi', index, indexType);
    expect(pushed.response.status).toBe(201);
    expect(await client.status('DELETE', `/v2/acme/delete3/manifests/${digest}`)).toBe(405);
    expect(await client.status('DELETE', `/v2/acme/delete3/manifests/${pushed.digest}`)).toBe(202);
    expect(await client.status('DELETE', `/v2/acme/delete3/manifests/${digest}`)).toBe(202);
  });
});

import { mkdtemp, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Digest, digestOf } from '@berth/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isValidRepositoryName, type RepositoryName } from '../names.js';
import { ContentStore } from './content-store.js';
import { makeDirectory } from './durable.js';
import { Layout } from './layout.js';
import { RepositoryStore } from './repository-store.js';
import { UploadStore } from './upload-store.js';

/* What must hold when a sweep and a push meet, with the meeting arranged. */

let root: string;
let layout: Layout;
let content: ContentStore;
let repositories: RepositoryStore;
const repository = name('acme/web');
const nothing = async (): Promise<void> => undefined;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'berth-stores-'));
  layout = new Layout(root);
  for (const directory of [layout.blobs, layout.repositories, layout.uploads, layout.scratch]) await makeDirectory(directory);
  content = new ContentStore(layout);
  repositories = new RepositoryStore(layout, content);
});
afterEach(() => rm(root, { recursive: true }));

function name(text: string): RepositoryName {
  if (!isValidRepositoryName(text)) throw new Error(text);
  return text;
}

async function pushBlob(text: string): Promise<Digest> {
  const path = join(layout.scratch, `upload-${text}`);
  await writeFile(path, text);
  await repositories.adoptBlob(repository, path, digestOf(text));
  return digestOf(text);
}

const age = (path: string): Promise<void> => utimes(path, 0, 0);

describe('the sweep of content', () => {
  it('takes what nobody touched, and leaves what somebody touched since', async () => {
    const digest = digestOf('bytes');
    await content.put(Buffer.from('bytes'), digest, nothing);
    await age(layout.content(digest));
    expect(await content.withContent(digest, nothing)).toBe(true);
    expect(await content.removeUntouched(digest, 1000)).toBeNull();
    expect(await content.sizeBytes(digest)).toBe(5);
    await age(layout.content(digest));
    expect(await content.removeUntouched(digest, 1000)).toBe(5);
    expect(await content.sizeBytes(digest)).toBeNull();
    expect(await content.withContent(digest, nothing)).toBe(false);
  });

  it('waits for a link that is being made, and then leaves the content', async () => {
    const digest = digestOf('bytes');
    await content.put(Buffer.from('bytes'), digest, nothing);
    await age(layout.content(digest));
    let finish = (): void => undefined;
    const linking = content.withContent(
      digest,
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    const sweeping = content.removeUntouched(digest, 1000);
    expect(await Promise.race([sweeping, new Promise((resolve) => setTimeout(resolve, 50, 'waiting'))])).toBe('waiting');
    finish();
    await linking;
    expect(await sweeping).toBeNull();
  });
});

describe('the sweep of links', () => {
  it('does not take a link that a push renews while it works', async () => {
    const others = await Promise.all(Array.from({ length: 100 }, (_, index) => pushBlob(`old ${index}`)));
    const digest = await pushBlob('pushed again');
    let push: Promise<Digest> | undefined;
    await repositories.sweepLinks(repository, () => {
      push = pushBlob('pushed again');
      return [...others, digest];
    });
    await push;
    expect(await repositories.blobSizeBytes(repository, digest)).toBe('pushed again'.length);
    expect(await repositories.blobSizeBytes(repository, others[0]!)).toBeNull();
  });

  it('does not take a blob from under a manifest that is being pushed', async () => {
    const others = await Promise.all(Array.from({ length: 100 }, (_, index) => pushBlob(`old ${index}`)));
    const config = await pushBlob('config');
    const descriptor = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, sizeBytes: 6 };
    const mediaType = 'application/vnd.oci.image.manifest.v1+json' as const;
    const manifest = { mediaType, blobs: [descriptor], manifests: [], subject: null, artifactType: null, annotations: null };
    let push: Promise<Digest> | undefined;
    await repositories.sweepLinks(repository, () => {
      push = repositories.putManifest(repository, manifest, Buffer.from('{}'), []);
      push.catch(() => undefined);
      return [...others, config];
    });
    // The sweep was first, so the push must be refused: a manifest without its blob is what may never be.
    await expect(push).rejects.toMatchObject({ code: 'MANIFEST_BLOB_UNKNOWN' });
    expect(await repositories.exists(repository)).toBe(false);
  });
});

describe('uploads', () => {
  const limits = { blobBytes: 1000, uploadsPerTenant: 10 };
  const bytes = async function* (text: string): AsyncGenerator<Buffer> {
    yield Buffer.from(text);
  };
  const broken = async function* (text: string): AsyncGenerator<Buffer> {
    yield Buffer.from(text);
    throw new Error('the connection broke');
  };

  it('go on after a restart with the bytes and the digest that they had', async () => {
    const before = await UploadStore.open(layout, limits, Date.now);
    const upload = await before.begin(repository);
    await expect(before.append(upload, broken('first '), { range: null })).rejects.toThrow('broke');
    const after = await UploadStore.open(layout, limits, Date.now);
    const found = after.find(repository, upload.id);
    expect(found?.offset).toBe(6);
    expect(await after.append(found!, bytes('second'), { range: { first: 6, last: 11 } })).toBe(12);
    await after.commit(found!, digestOf('first second'), async (path) => expect((await stat(path)).size).toBe(12));
    expect(after.find(repository, upload.id)).toBeNull();
  });

  it('that a crash left broken are removed at the next start', async () => {
    const store = await UploadStore.open(layout, limits, Date.now);
    const upload = await store.begin(repository);
    await rm(join(layout.upload(upload.id), 'bytes'));
    const again = await UploadStore.open(layout, limits, Date.now);
    expect([again.find(repository, upload.id), again.count(null)]).toEqual([null, 0]);
  });

  it('hash right after a chunk that was rolled back', async () => {
    const store = await UploadStore.open(layout, limits, Date.now);
    const upload = await store.begin(repository);
    await store.append(upload, bytes('good '), { range: null });
    await expect(store.append(upload, bytes('bad'), { range: { first: 5, last: 6 } })).rejects.toMatchObject({ code: 'SIZE_INVALID' });
    await expect(store.append(upload, bytes('x'.repeat(996)), { range: null })).rejects.toMatchObject({ status: 413 });
    await expect(store.append(upload, bytes('b'), { range: { first: 5, last: 6 } })).rejects.toMatchObject({ code: 'SIZE_INVALID' });
    expect(await store.append(upload, bytes('bytes'), { range: { first: 5, last: 9 } })).toBe(10);
    await store.commit(upload, digestOf('good bytes'), nothing);
  });
});

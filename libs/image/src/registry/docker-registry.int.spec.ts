import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltImage, buildImage, pushImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { hasDockerRegistry, startDockerRegistry } from '../testing/docker-registry.js';
import { MEDIA_TYPES } from './media-types.js';
import { RegistryClient } from './registry-client.js';

// user:secret
const HTPASSWD = 'user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
const platform = 'linux/amd64';
const clientOf = (authorization?: string) =>
  new RegistryClient({
    resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }),
    authorization,
    limits: { backoffMs: 5 },
  });

describe.skipIf(!hasDockerRegistry)('a docker registry', () => {
  let registry: { host: string; stop(): Promise<void> };
  let image: BuiltImage;
  const reference = (repository = 'team/app', tag = '1') => ({ registry: registry.host, repository, tag });

  beforeAll(async () => {
    registry = await startDockerRegistry();
    const base = await buildLayer([{ type: 'file', path: 'base', content: Buffer.alloc(500_000, 'x') }]);
    image = buildImage({ layers: [base, await buildLayer([{ type: 'file', path: 'app', content: 'app' }])], config: {}, platform });
  });
  afterAll(() => registry.stop());

  it('takes an image, and of the next only what it lacks', async () => {
    const client = clientOf();
    const first = await pushImage(client, reference(), image);
    const blobs = image.layers.reduce((total, { size }) => total + size, image.config.length);
    expect(first).toEqual({ digest: image.manifestDigest, uploadedBytes: blobs });
    expect(await pushImage(client, reference('team/app', '2'), image)).toEqual({ digest: image.manifestDigest, uploadedBytes: 0 });
    const extra = await buildLayer([{ type: 'file', path: 'other', content: 'other' }]);
    const second = buildImage({ layers: [...image.layers, extra], config: {}, platform });
    expect((await pushImage(client, reference('team/app', '3'), second)).uploadedBytes).toBe(extra.size + second.config.length);
  });

  it('resolves what was pushed, and follows a tag that moves', async () => {
    const client = clientOf();
    expect((await client.resolve(reference(), { platform })).digest).toBe(image.manifestDigest);
    const moved = buildImage({ layers: image.layers, config: { Labels: { moved: 'yes' } }, platform });
    await pushImage(client, reference('team/app', 'moving'), image);
    await pushImage(client, reference('team/app', 'moving'), moved);
    expect((await client.resolve(reference('team/app', 'moving'), { platform })).digest).toBe(moved.manifestDigest);
    expect(await client.resolve({ ...reference(), digest: image.manifestDigest }, { platform })).toMatchObject({
      digest: image.manifestDigest,
    });
  });

  it('serves an index that we put together', async () => {
    const client = clientOf();
    const arm = buildImage({ layers: image.layers, config: {}, platform: 'linux/arm64' });
    const entries = [];
    for (const [each, architecture] of [
      [image, 'amd64'],
      [arm, 'arm64'],
    ] as const) {
      const digest = (await pushImage(client, { registry: registry.host, repository: 'team/multi' }, each)).digest;
      entries.push({ mediaType: each.mediaType, digest, size: each.manifest.length, platform: { os: 'linux', architecture } });
    }
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: entries }));
    const digest = await client.pushManifest(reference('team/multi', 'all'), MEDIA_TYPES.ociIndex, index);
    const resolved = await client.resolve(reference('team/multi', 'all'), { platform: 'linux/arm64' });
    expect(resolved).toMatchObject({ digest, platformManifestDigest: arm.manifestDigest });
  });

  it('is asked for presence with one word', async () => {
    const client = clientOf();
    expect(await client.hasManifest(reference(), image.manifestDigest)).toBe(true);
    expect(await client.hasBlob(reference(), image.configDigest)).toBe(true);
    expect(await client.hasBlob(reference('team/none'), image.configDigest)).toBe(false);
    expect(await client.hasManifest(reference(), `sha256:${'0'.repeat(64)}`)).toBe(false);
  });

  it.skipIf(!existsSync('/usr/bin/skopeo'))('gives skopeo what we pushed, and us what skopeo makes of it in Docker’s format', async () => {
    const at = (tag: string) => `docker://${registry.host}/team/app:${tag}`;
    const options = ['--src-tls-verify=false', '--dest-tls-verify=false'];
    execFileSync('skopeo', ['copy', '--insecure-policy', '--format=v2s2', ...options, at('1'), at('docker')], { stdio: 'pipe' });
    const { manifest } = await clientOf().fetchImage(reference('team/app', 'docker'), { platform });
    expect(manifest.content).toMatchObject({
      mediaType: MEDIA_TYPES.dockerManifest,
      layers: image.layers.map(({ digest }) => ({ digest })),
    });
  });
});

describe.skipIf(!hasDockerRegistry)('a docker registry with passwords', () => {
  let registry: { host: string; stop(): Promise<void> };
  beforeAll(async () => {
    registry = await startDockerRegistry({ htpasswd: HTPASSWD });
  });
  afterAll(() => registry.stop());

  it('lets in who knows one, and nobody else', async () => {
    const reference = { registry: registry.host, repository: 'team/app', tag: '1' };
    const image = buildImage({ layers: [], config: {}, platform });
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
    await pushImage(clientOf(basic('user:secret')), reference, image);
    for (const credential of [undefined, basic('user:wrong'), 'Bearer made-up'])
      await expect(clientOf(credential).resolve(reference, { platform })).rejects.toMatchObject({ code: 'unauthorized' });
    expect((await clientOf(basic('user:secret')).resolve(reference, { platform })).digest).toBe(image.manifestDigest);
  });
});

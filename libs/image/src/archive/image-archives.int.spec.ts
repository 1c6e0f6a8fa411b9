import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { digestOf } from '@berth/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltImage, buildImage, pushImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { TAR_END, tarHeader, tarPadding } from '../build/tar-writer.js';
import { MEDIA_TYPES } from '../registry/media-types.js';
import { RegistryClient } from '../registry/registry-client.js';
import { hasDockerRegistry, startDockerRegistry } from '../testing/docker-registry.js';
import { codeOf } from '../testing/registry-fixture.js';
import { exportImage } from './export-archive.js';
import { importImage } from './import-archive.js';

const platform = 'linux/amd64';
const hasSkopeo = existsSync('/usr/bin/skopeo');

interface RawEntry {
  readonly path: string;
  readonly content?: Buffer | string;
  readonly type?: 'symlink' | 'hardlink';
  readonly target?: string;
}

function tarOf(entries: readonly RawEntry[]): Buffer {
  const parts = entries.flatMap(({ path, content = '', type = 'file', target }) => {
    const bytes = Buffer.from(content);
    const header = tarHeader({ path, type: type as 'file', mode: 0o644, uid: 0, gid: 0, size: bytes.length, mtime: 0, target });
    return [header, bytes, tarPadding(bytes.length)];
  });
  return Buffer.concat([...parts, TAR_END]);
}

describe.skipIf(!hasDockerRegistry)('archives of images', () => {
  let registry: { host: string; stop(): Promise<void> };
  let dir: string;
  let image: BuiltImage;
  const client = new RegistryClient({
    resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }),
    limits: { backoffMs: 5, attempts: 2 },
  });
  const reference = (tag: string) => ({ registry: registry.host, repository: 'team/app', tag });
  const at = (name: string) => join(dir, name);
  const diffIds = async (tag: string) => (await client.fetchImage(reference(tag), { platform })).config.diffIds;
  const skopeo = (...args: string[]) => execFileSync('skopeo', ['--insecure-policy', ...args], { stdio: 'pipe' });

  beforeAll(async () => {
    registry = await startDockerRegistry();
    const layers = [
      await buildLayer([{ type: 'file', path: 'base', content: Buffer.alloc(300_000, 'base ') }]),
      await buildLayer([{ type: 'file', path: 'app', content: 'app' }]),
    ];
    image = buildImage({ layers, config: { Cmd: ['/app'] }, platform });
    await pushImage(client, reference('v1'), image);
  });
  afterAll(() => registry.stop());
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'berth-archives-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const saved = (more: Partial<Record<'config' | 'first' | 'manifest', Buffer | string>> = {}, extra: readonly RawEntry[] = []): Buffer => {
    const [first, second] = image.layers.map(({ blob }) => gunzipSync(blob));
    const manifest = [{ Config: 'config.json', RepoTags: ['team/app:saved'], Layers: ['one/layer.tar', 'two/layer.tar'] }];
    return tarOf([
      { path: 'one/layer.tar', content: more.first ?? first ?? '' },
      { path: 'two/layer.tar', content: second ?? '' },
      { path: 'config.json', content: more.config ?? image.config },
      { path: 'manifest.json', content: more.manifest ?? JSON.stringify(manifest) },
      ...extra,
    ]);
  };
  const refused = async (bytes: Buffer, name?: string): Promise<string> => {
    await writeFile(at('hostile.tar'), bytes);
    return codeOf(importImage(at('hostile.tar'), client, reference('hostile'), { name }));
  };

  it('come back as they went, every byte, twice the same', async () => {
    const digest = await exportImage(client, reference('v1'), at('one.tar'), { name: 'registry.berth/team/app:v1' });
    await exportImage(client, reference('v1'), at('two.tar'), { name: 'registry.berth/team/app:v1' });
    expect(digest).toBe(image.manifestDigest);
    expect((await readFile(at('one.tar'))).equals(await readFile(at('two.tar')))).toBe(true);
    expect(await readdir(dir)).toEqual(['one.tar', 'two.tar']);
    expect(await importImage(at('one.tar'), client, { ...reference('back'), repository: 'team/other' })).toBe(image.manifestDigest);
  });

  it.skipIf(!hasSkopeo)('are read by skopeo, as an OCI archive and as a docker archive', async () => {
    await exportImage(client, reference('v1'), at('out.tar'), { name: 'registry.berth/team/app:v1' });
    for (const form of ['oci-archive', 'docker-archive']) {
      const told = JSON.parse(skopeo('inspect', '--config', `${form}:${at('out.tar')}`).toString()) as { rootfs: { diff_ids: string[] } };
      expect(told.rootfs.diff_ids).toEqual(image.layers.map(({ diffId }) => diffId));
      skopeo('copy', `${form}:${at('out.tar')}`, `dir:${at(form)}`);
    }
  });

  it.skipIf(!hasSkopeo)('are taken as skopeo writes them, in each of its forms', async () => {
    const from = `docker://${registry.host}/team/app:v1`;
    for (const [form, path] of [
      ['oci-archive', 'oci.tar'],
      ['oci', 'layout'],
      ['docker-archive', 'docker.tar'],
    ] as const) {
      skopeo('copy', '--src-tls-verify=false', from, `${form}:${at(path)}:team/app:copied`);
      const digest = await importImage(at(path), client, reference(form));
      if (form !== 'docker-archive') expect(digest).toBe(image.manifestDigest);
      expect(await diffIds(form)).toEqual(image.layers.map(({ diffId }) => diffId));
    }
  });

  it('are taken as docker writes them: plain layers, compressed ones, links between them', async () => {
    await writeFile(at('plain.tar'), saved());
    const digest = await importImage(at('plain.tar'), client, reference('plain'));
    expect(await diffIds('plain')).toEqual(image.layers.map(({ diffId }) => diffId));
    await writeFile(at('packed.tar'), saved({ first: gzipSync(gunzipSync(image.layers[0]?.blob ?? '')) }));
    await importImage(at('packed.tar'), client, reference('packed'));
    expect(await diffIds('packed')).toEqual(image.layers.map(({ diffId }) => diffId));
    const Layers = ['link/layer.tar', 'two/layer.tar'];
    const manifest = JSON.stringify([{ Config: 'config.json', RepoTags: [], Layers }]);
    await writeFile(at('linked.tar'), saved({ manifest }, [{ path: 'link/layer.tar', type: 'symlink', target: '../one/layer.tar' }]));
    expect(await importImage(at('linked.tar'), client, reference('linked'))).toBe(digest);
  });

  it('with several images ask for a name', async () => {
    const one = { Config: 'config.json', Layers: ['one/layer.tar', 'two/layer.tar'] };
    const manifest = JSON.stringify([
      { ...one, RepoTags: ['team/app:a'] },
      { ...one, RepoTags: ['team/app:b'] },
    ]);
    await writeFile(at('many.tar'), saved({ manifest }));
    await expect(importImage(at('many.tar'), client, reference('many'))).rejects.toThrow('"team/app:a"');
    await expect(importImage(at('many.tar'), client, reference('many'), { name: 'c' })).rejects.toThrow('no image c');
    await importImage(at('many.tar'), client, reference('many'), { name: 'team/app:b' });
  });

  it('are refused when they lie, break off, or lead elsewhere', async () => {
    const whole = saved();
    expect(await refused(Buffer.from('no tar at all'.repeat(100)))).toBe('layerRejected');
    expect(await refused(whole.subarray(0, 200_000))).toBe('layerRejected');
    expect(await refused(whole.subarray(0, whole.length - 1024))).toBe('layerRejected');
    expect(await refused(Buffer.concat([whole.subarray(0, 140), Buffer.from('7'), whole.subarray(141)]))).toBe('layerRejected');
    expect(await refused(gzipSync(whole))).toBe('unsupportedMediaType');
    expect(await refused(saved({}, [{ path: './one/../one/layer.tar', content: 'another' }]))).toBe('layerRejected');
    expect(await refused(saved({ first: 'other bytes' }))).toBe('digestMismatch');
    expect(await refused(saved({ first: Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3]) }))).toBe('layerRejected');
    expect(await refused(saved({ config: '{' }))).toBe('invalidManifest');
    expect(await refused(saved({ manifest: '{}' }))).toBe('invalidManifest');
    expect(await refused(saved({ manifest: '[]' }))).toBe('invalidManifest');
    expect(await refused(saved({ manifest: Buffer.alloc(5 * 1024 * 1024, ' ') }))).toBe('tooLarge');
    const lead = (target: string) =>
      refused(
        saved({ manifest: JSON.stringify([{ Config: 'link', Layers: ['one/layer.tar', 'two/layer.tar'] }]) }, [
          { path: 'link', type: 'symlink', target },
        ]),
      );
    expect(await lead('/etc/passwd')).toBe('invalidManifest');
    expect(await lead('../../../../etc/passwd')).toBe('invalidManifest');
    expect(await lead('link')).toBe('layerRejected');
    expect(await codeOf(client.fetchManifest(reference('hostile')))).toBe('imageNotFound');
  });

  it('of a layout are refused when a blob is not what its digest says, or is a link to a file of the machine', async () => {
    const layout = async (name: string, layer: Buffer | null) => {
      const [first, second] = image.layers;
      await mkdir(at(`${name}/blobs/sha256`), { recursive: true });
      const blob = (digest: string) => at(`${name}/blobs/sha256/${digest.slice(7)}`);
      await writeFile(at(`${name}/oci-layout`), '{"imageLayoutVersion":"1.0.0"}');
      const manifests = [{ mediaType: MEDIA_TYPES.ociManifest, digest: image.manifestDigest, size: image.manifest.length }];
      await writeFile(at(`${name}/index.json`), JSON.stringify({ schemaVersion: 2, manifests }));
      await writeFile(blob(image.manifestDigest), image.manifest);
      await writeFile(blob(image.configDigest), image.config);
      await writeFile(blob(second?.digest ?? ''), second?.blob ?? '');
      if (layer === null) await symlink('/etc/passwd', blob(first?.digest ?? ''));
      else await writeFile(blob(first?.digest ?? ''), layer);
      return codeOf(importImage(at(name), client, { ...reference('hostile'), repository: `team/${name}` }));
    };
    const [good] = image.layers.map(({ blob }) => blob);
    const flipped = Buffer.from(good ?? '');
    flipped[100] = (flipped[100] ?? 0) ^ 1;
    expect(digestOf(flipped)).not.toBe(image.layers[0]?.digest);
    expect(await layout('good', good ?? null)).toBe('no error');
    expect(await layout('flipped', flipped)).toBe('digestMismatch');
    expect(await layout('short', flipped.subarray(1))).toBe('digestMismatch');
    expect(await layout('linked', null)).toBe('layerRejected');
  });

  it('leave no half file behind when the registry fails in the middle', async () => {
    await expect(exportImage(client, reference('absent'), at('none.tar'), { name: 'x' })).rejects.toMatchObject({ code: 'imageNotFound' });
    expect(await readdir(dir)).toEqual([]);
  });
});

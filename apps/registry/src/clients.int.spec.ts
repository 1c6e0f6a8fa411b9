import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { digestOf } from '@berth/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RegistryUnderTest, startRegistryUnderTest, type TestTenant } from './testing/registry-under-test.js';

const execute = promisify(execFile);

/* Real clients: skopeo and podman as Debian ships them. */

let registry: RegistryUnderTest;
let acme: TestTenant;
let directory: string;
let layout: string;

beforeAll(async () => {
  registry = await startRegistryUnderTest();
  acme = await registry.tenant('acme');
  // Lower case, because podman reads paths as image names.
  directory = join(tmpdir(), `berth-clients-${randomBytes(6).toString('hex')}`);
  await mkdir(directory);
  layout = `oci:${join(directory, 'image')}:v1`;
  await makeLayout(join(directory, 'image'));
}, 60_000);
afterAll(async () => {
  await registry.close();
  await rm(directory, { recursive: true, force: true });
});

/** An OCI layout of two layers, with busybox in the first. */
async function makeLayout(target: string): Promise<void> {
  const root = join(directory, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  await copyFile('/bin/busybox', join(root, 'bin/busybox'));
  await writeFile(join(root, 'message'), 'from the first layer\n');
  await execute('tar', ['-C', root, '-cf', join(directory, 'one.tar'), '.']);
  await writeFile(join(directory, 'second'), 'from the second layer\n');
  await execute('tar', ['-C', directory, '-cf', join(directory, 'two.tar'), 'second']);
  for (const file of ['one.tar', 'two.tar']) await execute('gzip', ['--keep', '--no-name', join(directory, file)]);

  const blobs = join(target, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const put = async (bytes: Buffer | string, mediaType: string): Promise<{ mediaType: string; digest: string; size: number }> => {
    const digest = digestOf(bytes);
    await writeFile(join(blobs, digest.slice(7)), bytes);
    return { mediaType, digest, size: Buffer.byteLength(bytes) };
  };
  const diff = async (file: string): Promise<string> => digestOf(await readFile(join(directory, file)));
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/bin/busybox'], Cmd: ['cat', '/message', '/second'] },
    rootfs: { type: 'layers', diff_ids: [await diff('one.tar'), await diff('two.tar')] },
  };
  const layerType = 'application/vnd.oci.image.layer.v1.tar';
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: await put(JSON.stringify(config), 'application/vnd.oci.image.config.v1+json'),
    layers: [
      await put(await readFile(join(directory, 'one.tar.gz')), `${layerType}+gzip`),
      await put(await readFile(join(directory, 'two.tar.gz')), `${layerType}+gzip`),
    ],
  };
  const descriptor = await put(JSON.stringify(manifest), manifest.mediaType);
  const index = { schemaVersion: 2, manifests: [{ ...descriptor, annotations: { 'org.opencontainers.image.ref.name': 'v1' } }] };
  await writeFile(join(target, 'index.json'), JSON.stringify(index));
  await writeFile(join(target, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

const skopeo = (args: readonly string[]): Promise<{ stdout: string; stderr: string }> =>
  execute('skopeo', ['--tmpdir', directory, '--insecure-policy', ...args]);
const target = (name: string): string => `docker://${registry.host}/${name}`;
const login = (): string => `anyone:${acme.key}`;

describe('skopeo', () => {
  it('copies an image here and back without a changed byte', async () => {
    await skopeo(['copy', '--dest-tls-verify=false', `--dest-creds=${login()}`, layout, target('acme/skopeo:v1')]);
    const back = join(directory, 'back');
    await skopeo(['copy', '--src-tls-verify=false', `--src-creds=${login()}`, target('acme/skopeo:v1'), `oci:${back}:v1`]);
    expect(await digestInLayout(back)).toBe(await digestInLayout(join(directory, 'image')));
  });

  it('copies the Docker format (schema 2)', async () => {
    await skopeo(['copy', '--format=v2s2', '--dest-tls-verify=false', `--dest-creds=${login()}`, layout, target('acme/docker:v1')]);
    const { stdout } = await skopeo(['inspect', '--raw', '--tls-verify=false', `--creds=${login()}`, target('acme/docker:v1')]);
    expect(JSON.parse(stdout)).toMatchObject({ mediaType: 'application/vnd.docker.distribution.manifest.v2+json' });
    await skopeo(['copy', '--src-tls-verify=false', `--src-creds=${login()}`, target('acme/docker:v1'), `dir:${join(directory, 'dir')}`]);
  });

  it('copies between repositories by mounting, lists tags, inspects and deletes', async () => {
    const tls = ['--src-tls-verify=false', '--dest-tls-verify=false', `--src-creds=${login()}`, `--dest-creds=${login()}`];
    await skopeo(['copy', '--dest-tls-verify=false', `--dest-creds=${login()}`, layout, target('acme/from:v1')]);
    await skopeo(['copy', ...tls, target('acme/from:v1'), target('acme/to:v2')]);
    const tags = await skopeo(['list-tags', '--tls-verify=false', `--creds=${login()}`, target('acme/to')]);
    expect(JSON.parse(tags.stdout)).toMatchObject({ Tags: ['v2'] });
    const inspected = await skopeo(['inspect', '--tls-verify=false', `--creds=${login()}`, target('acme/to:v2')]);
    expect(JSON.parse(inspected.stdout)).toMatchObject({ Digest: await digestInLayout(join(directory, 'image')) });
    await skopeo(['delete', '--tls-verify=false', `--creds=${login()}`, target('acme/to:v2')]);
    await expect(skopeo(['inspect', '--tls-verify=false', `--creds=${login()}`, target('acme/to:v2')])).rejects.toThrow('manifest unknown');
  });

  it('is told clearly when it may not', async () => {
    const copy = (credentials: string[], name: string): Promise<unknown> =>
      skopeo(['copy', '--dest-tls-verify=false', ...credentials, layout, target(name)]);
    await expect(copy([], 'acme/x:v1')).rejects.toThrow(/unauthorized|authentication required/);
    await expect(copy([`--dest-creds=anyone:berth_${'0'.repeat(32)}`], 'acme/x:v1')).rejects.toThrow(
      /unauthorized|invalid username|authentication required/,
    );
    await expect(copy([`--dest-creds=${login()}`], 'rival/x:v1')).rejects.toThrow(/no such repository|name unknown|not known/i);
  });
});

describe('podman', () => {
  const podman = (args: readonly string[]): Promise<{ stdout: string; stderr: string }> =>
    execute('podman', [
      '--root',
      join(directory, 'podman-root'),
      '--runroot',
      join(directory, 'podman-run'),
      '--storage-driver',
      'vfs',
      ...args,
    ]);

  it.skipIf(process.getuid?.() !== 0)('logs in, pushes, pulls, and finds the same image', { timeout: 120_000 }, async () => {
    const auth = ['--authfile', join(directory, 'auth.json'), '--tls-verify=false'];
    const name = `${registry.host}/acme/podman:v1`;
    await podman(['login', ...auth, '--username', 'anyone', '--password', acme.key, registry.host]);
    const { stdout } = await podman(['pull', '--quiet', layout]);
    const id = stdout.trim();
    await podman(['push', ...auth, id, name]);
    await podman(['push', ...auth, '--format', 'v2s2', id, `${name}-docker`]);
    await podman(['rmi', '--all', '--force']);
    const pulled = await podman(['pull', ...auth, '--quiet', name]);
    expect(pulled.stdout.trim()).toBe(id);
    const inspected = await podman(['image', 'inspect', '--format', '{{.Config.Entrypoint}} {{len .RootFS.Layers}}', id]);
    expect(inspected.stdout.trim()).toBe('[/bin/busybox] 2');
    await podman(['pull', ...auth, '--quiet', `${name}-docker`]);
    await expect(podman(['login', ...auth, '--username', 'x', '--password', 'wrong', registry.host])).rejects.toThrow(
      'invalid username/password',
    );
    await podman(['rmi', '--all', '--force']);
  });
});

async function digestInLayout(path: string): Promise<string> {
  const index = JSON.parse(await readFile(join(path, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
  return index.manifests[0]?.digest ?? '';
}

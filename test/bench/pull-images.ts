import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { digestOf } from '@berth/core';
import { hostPlatform, MEDIA_TYPES, RegistryClient } from '@berth/image';

/** A layer of the benchmark, as files. */
export interface BenchLayer {
  readonly path: string;
  readonly digest: string;
  readonly diffId: string;
  readonly bytes: number;
  readonly archiveBytes: number;
}

export interface BenchImage {
  readonly name: string;
  readonly layers: readonly BenchLayer[];
}

const sha256 = (command: string): string =>
  `sha256:${execFileSync('sh', ['-c', `${command} | sha256sum`], { encoding: 'utf8' }).slice(0, 64)}`;

/** Packs a folder, or the listed files of it, as gzip -6 packs it. */
function layerOf(dir: string, name: string, folder: string, files?: string): BenchLayer {
  const path = join(dir, `${name}.tar.gz`);
  const list = files === undefined ? '.' : `--no-recursion --verbatim-files-from --files-from='${files}'`;
  execFileSync('sh', [
    '-c',
    `tar --format=pax --numeric-owner --ignore-failed-read -C '${folder}' -cf - ${list} 2>/dev/null | gzip -6 > '${path}'`,
  ]);
  const archiveBytes = Number(execFileSync('sh', ['-c', `gzip -dc '${path}' | wc -c`], { encoding: 'utf8' }));
  return { path, digest: sha256(`cat '${path}'`), diffId: sha256(`gzip -dc '${path}'`), bytes: statSync(path).size, archiveBytes };
}

/** Much as a minimal Debian: every file of the packages that this one calls required or important. */
function systemLayer(dir: string): BenchLayer {
  // The dollar signs are dpkg's.
  const format = ['$', '{binary:Package} $', '{Priority}\n'].join('');
  const packages = execFileSync('dpkg-query', ['-W', '-f', format], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => /(required|important)$/.test(line))
    .map((line) => line.split(' ')[0] ?? '');
  const lists = packages.flatMap((name) => [name, name.split(':')[0]]).map((name) => `/var/lib/dpkg/info/${name}.list`);
  const files = new Set(lists.filter((path) => existsSync(path)).flatMap((path) => readFileSync(path, 'utf8').split('\n')));
  const here = [...files].filter((path) => path.length > 2 && !path.startsWith('/usr/share/locale') && existsSync(path));
  // On a merged /usr, /bin is a link and what packages put beneath it stands in /usr/bin.
  const names = [...new Set(here.map((path) => join(realpathSync(dirname(path)), basename(path))))].sort();
  writeFileSync(join(dir, 'system.list'), names.map((path) => `.${path}\n`).join(''));
  return layerOf(dir, 'system', '/', join(dir, 'system.list'));
}

/** This Node.js and, where it is installed, its npm. */
function nodeLayer(dir: string): BenchLayer {
  const prefix = dirname(dirname(process.execPath));
  const parts = ['bin/node', 'lib/node_modules/npm'].filter((part) => existsSync(join(prefix, part)));
  const files = parts.flatMap((part) =>
    execFileSync('find', [part], { cwd: prefix, encoding: 'utf8', maxBuffer: 2 ** 28 })
      .trim()
      .split('\n'),
  );
  writeFileSync(join(dir, 'node.list'), files.map((path) => `${path}\n`).join(''));
  return layerOf(dir, 'node', prefix, join(dir, 'node.list'));
}

/** Bytes that gzip makes about half of. */
function plausible(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let seed = 12_345;
  for (let at = 0; at < length; at++) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = 97 + ((seed >>> 16) % 16);
  }
  return bytes;
}

function filesLayer(dir: string, name: string, count: number, bytesEach: number): BenchLayer {
  const folder = join(dir, name);
  mkdirSync(join(folder, name), { recursive: true });
  const content = plausible(bytesEach);
  for (let index = 0; index < count; index++) {
    content.writeUInt32LE(index, 0);
    writeFileSync(join(folder, name, `file-${index}`), content);
  }
  return layerOf(dir, name, folder);
}

/** System, Node.js and an app of 10 MB. */
export function threeLayers(dir: string): BenchImage {
  return { name: 'three-layers', layers: [systemLayer(dir), nodeLayer(dir), filesLayer(dir, 'app', 40, 256 * 1024)] };
}

export function manyLayers(dir: string): BenchImage {
  return { name: 'forty-layers', layers: Array.from({ length: 40 }, (_, index) => filesLayer(dir, `small-${index}`, 20 + index, 4096)) };
}

export function oneLayer(dir: string, megabytes: number): BenchImage {
  return { name: `one-layer-${megabytes}mb`, layers: [filesLayer(dir, 'large', Math.ceil(megabytes / 16), 16 * 1024 * 1024)] };
}

export interface Registry {
  readonly host: string;
  stop(): Promise<void>;
}

/** The distribution project's registry on a free port of loopback. */
export async function startRegistry(dir: string): Promise<Registry> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, 'registry') } },
    http: { addr: `127.0.0.1:${port}` },
  };
  writeFileSync(join(dir, 'registry.json'), JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', join(dir, 'registry.json')], {
    stdio: 'ignore',
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
  });
  const gone = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGTERM');
    await gone;
  };
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  for (let tries = 0; !(await answers()); tries++) {
    if (tries > 200 || child.exitCode !== null) throw new Error('docker-registry did not start: install the package docker-registry');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { host: `127.0.0.1:${port}`, stop };
}

export const clientOf = (host: string): RegistryClient =>
  new RegistryClient({ resolveRegistry: () => ({ url: `http://${host}`, allowInternal: true }) });

/** Puts an image into the registry as bench/NAME:latest and returns its digest. */
export async function push(host: string, { name, layers }: BenchImage): Promise<string> {
  const client = clientOf(host);
  const reference = { registry: host, repository: `bench/${name}`, tag: 'latest' };
  const [os, architecture] = hostPlatform().split('/');
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os,
      config: { Cmd: ['/bin/true'] },
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  );
  await client.pushBlob(reference, { digest: digestOf(config), size: config.length }, () => config);
  for (const layer of layers)
    await client.pushBlob(reference, { digest: layer.digest, size: layer.bytes }, () => createReadStream(layer.path));
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: { mediaType: MEDIA_TYPES.ociConfig, digest: digestOf(config), size: config.length },
    layers: layers.map(({ digest, bytes }) => ({ mediaType: MEDIA_TYPES.ociLayerGzip, digest, size: bytes })),
  };
  return client.pushManifest(reference, MEDIA_TYPES.ociManifest, Buffer.from(JSON.stringify(manifest)));
}

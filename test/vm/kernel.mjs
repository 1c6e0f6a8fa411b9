import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Unavailable } from './unavailable.mjs';

const run = promisify(execFile);

/**
 * A Debian cloud kernel, unpacked into the cache and nowhere else.
 * @typedef {{ release: string, image: string, modules: string }} Kernel
 */

/** @returns {Promise<Kernel[]>} */
async function cached(cacheDir) {
  const releases = await readdir(join(cacheDir, 'kernels')).catch(() => []);
  return releases
    .filter((name) => /^\d/.test(name))
    .map((release) => {
      const root = join(cacheDir, 'kernels', release);
      return { release, image: join(root, `boot/vmlinuz-${release}`), modules: join(root, 'lib/modules', release) };
    })
    .filter((kernel) => existsSync(kernel.image));
}

/** Whether a release begins with a version and not, as 6.12 does with 6.1, with a longer number. */
const isOfVersion = (release, version) => release.startsWith(version) && !/^\d/.test(release.slice(version.length));

const byRelease = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** The package of the newest cloud kernel whose release starts with `version`; without one, the distribution's default. */
async function packageName(version) {
  if (version === undefined) {
    const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64']);
    return /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  }
  const { stdout } = await run('apt-cache', ['pkgnames', `linux-image-${version}`]);
  const names = stdout
    .split('\n')
    .filter(
      (name) =>
        /^linux-image-\d[^-]*(-\d+)?(-cloud-amd64)(-unsigned)?$/.test(name) && isOfVersion(name.slice('linux-image-'.length), version),
    );
  return names.sort(byRelease).at(-1);
}

/** Unpacks the package into `staging`, with plain modules: not every loader reads compressed ones. Returns the kernel's release. */
async function download(name, staging) {
  await run('apt-get', ['download', '-q', name], { cwd: staging }).catch((error) => {
    throw new Unavailable(
      `cannot download ${name}: ${String(error.stderr ?? error)
        .trim()
        .split('\n')
        .at(-1)}`,
    );
  });
  const deb = (await readdir(staging)).find((file) => file.endsWith('.deb'));
  const root = join(staging, 'root');
  await run('dpkg', ['-x', join(staging, deb), root]);
  await run('find', [root, '-name', '*.ko.xz', '-exec', 'xz', '-d', '{}', '+']);
  const [release] = await readdir(join(root, 'lib/modules'));
  return release;
}

/**
 * Finds a kernel in the cache or downloads one with apt. Nothing is installed.
 * @param {string} cacheDir
 * @param {string | undefined} version such as `6.1`; the distribution's default when undefined
 * @returns {Promise<Kernel>}
 */
export async function findKernel(cacheDir, version) {
  const kernels = join(cacheDir, 'kernels');
  // Which of the cached ones the distribution's default was, so that a cache needs no network.
  const marker = join(kernels, 'default');
  const wanted = version ?? (await readFile(marker, 'utf8').catch(() => undefined));
  const fits = (await cached(cacheDir)).filter((kernel) => wanted !== undefined && isOfVersion(kernel.release, wanted));
  const newest = fits.sort((a, b) => byRelease(a.release, b.release)).at(-1);
  if (newest) return newest;
  const name = await packageName(version).catch(() => undefined);
  if (!name) throw new Unavailable(`apt knows no Debian cloud kernel${version ? ` ${version}` : ''} (package linux-image-cloud-amd64)`);
  await mkdir(kernels, { recursive: true });
  const staging = await mkdtemp(join(kernels, '.download-'));
  try {
    const release = await download(name, staging);
    await rm(join(kernels, release), { recursive: true, force: true });
    await rename(join(staging, 'root'), join(kernels, release));
    if (version === undefined) await writeFile(marker, release);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return findKernel(cacheDir, version);
}

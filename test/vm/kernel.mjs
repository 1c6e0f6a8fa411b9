import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
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
    .filter((name) => !name.startsWith('.'))
    .map((release) => {
      const root = join(cacheDir, 'kernels', release);
      return { release, image: join(root, `boot/vmlinuz-${release}`), modules: join(root, 'lib/modules', release) };
    })
    .filter((kernel) => existsSync(kernel.image));
}

const byRelease = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** The package of the newest cloud kernel whose release starts with `version`; without one, the distribution's default. */
async function packageName(version) {
  if (version === undefined) {
    const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64']);
    return /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  }
  const { stdout } = await run('apt-cache', ['pkgnames', `linux-image-${version}`]);
  const names = stdout.split('\n').filter((name) => /^linux-image-\d[^-]*(-\d+)?(-cloud-amd64)(-unsigned)?$/.test(name));
  return names.sort(byRelease).at(-1);
}

/**
 * Finds a kernel in the cache or downloads one with apt. Nothing is installed.
 * @param {string} cacheDir
 * @param {string | undefined} version such as `6.1`; the distribution's default when undefined
 * @returns {Promise<Kernel>}
 */
export async function findKernel(cacheDir, version) {
  const fits = (await cached(cacheDir)).filter((k) => version === undefined || k.release.startsWith(version));
  const newest = fits.sort((a, b) => byRelease(a.release, b.release)).at(-1);
  if (newest) return newest;
  const name = await packageName(version).catch(() => undefined);
  if (!name) throw new Unavailable(`apt knows no Debian cloud kernel${version ? ` ${version}` : ''} (package linux-image-cloud-amd64)`);
  const kernels = join(cacheDir, 'kernels');
  await mkdir(kernels, { recursive: true });
  const staging = await mkdtemp(join(kernels, '.download-'));
  try {
    await run('apt-get', ['download', '-q', name], { cwd: staging }).catch((error) => {
      throw new Unavailable(
        `cannot download ${name}: ${String(error.stderr ?? error)
          .trim()
          .split('\n')
          .at(-1)}`,
      );
    });
    const deb = (await readdir(staging)).find((file) => file.endsWith('.deb'));
    await run('dpkg', ['-x', join(staging, deb), join(staging, 'root')]);
    const [release] = await readdir(join(staging, 'root/lib/modules'));
    await rm(join(kernels, release), { recursive: true, force: true });
    await rename(join(staging, 'root'), join(kernels, release));
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return findKernel(cacheDir, version);
}

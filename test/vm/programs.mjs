import { execFile } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Debian packages whose programs the guest gets, as far as the host has them. */
const packages = [
  ...[
    'bash',
    'dash',
    'coreutils',
    'util-linux',
    'bsdutils',
    'mount',
    'procps',
    'iproute2',
    'nftables',
    'findutils',
    'grep',
    'sed',
    'diffutils',
  ],
  ...[
    'tar',
    'gzip',
    'xz-utils',
    'zstd',
    'e2fsprogs',
    'xfsprogs',
    'erofs-utils',
    'libcap2-bin',
    'attr',
    'acl',
    'kmod',
    'strace',
    'keyutils',
    'libc-bin',
  ],
];

/** Programs by name, from wherever they are installed. */
const names = ['node', 'busybox', 'runc', 'crun', 'skopeo', 'redis-server', 'docker-registry', 'newuidmap', 'newgidmap'];

const folders = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/usr/bin'])].filter(Boolean);

/** Absolute path of a program, or undefined where it is not installed. */
export function findProgram(name) {
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const isFile = (path) => existsSync(path) && statSync(path).isFile();

/** @returns {Promise<string[]>} absolute paths of the programs that the guest gets */
export async function guestPrograms() {
  const { stdout } = await run('dpkg', ['-L', ...packages], { maxBuffer: 1 << 24 }).catch((error) => ({ stdout: error.stdout ?? '' }));
  const installed = stdout.split('\n').filter((path) => /^(\/usr)?\/s?bin\/[^/]+$/.test(path) && isFile(path));
  const named = names.map(findProgram).filter((path) => path !== undefined);
  return [...new Set([...installed, ...named])].sort();
}

/** Every shared library that these files load, loaders included, by the path that the loader looks for. */
export async function librariesOf(files) {
  const found = new Set();
  for (let at = 0; at < files.length; at += 200) {
    // ldd fails when one of many is static or a script, and prints the rest all the same.
    const { stdout } = await run('ldd', files.slice(at, at + 200), { maxBuffer: 1 << 24 }).catch((error) => ({
      stdout: error.stdout ?? '',
    }));
    for (const match of stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)) found.add(match[1]);
  }
  return [...found].sort();
}

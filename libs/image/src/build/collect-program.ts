import { lstat, readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { LayerEntry } from './build-layer.js';
import { type ElfDependencies, parseElf } from './elf.js';

/** Where the loaders of the common distributions look even without /etc/ld.so.cache, which a container built of single files lacks. */
const LOADER_DIRS = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib/aarch64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
];

/** Directories that the administrator added for the loader. */
async function configuredDirs(): Promise<string[]> {
  const dir = '/etc/ld.so.conf.d';
  const names = (await readdir(dir).catch(() => [])).filter((name) => name.endsWith('.conf')).sort();
  const files = [...names.map((name) => join(dir, name)), '/etc/ld.so.conf'];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.flatMap((text) => text.split('\n').map((line) => line.trim())).filter((line) => line.startsWith('/'));
}

/**
 * The entries that put a host's path into a layer as it is on the host: each symbolic link on the way as a link, and the file at the end of
 * it. So a layer agrees with a base layer of the same distribution, whose /lib may be a link to /usr/lib.
 */
async function mirrorPath(path: string, entries: Map<string, LayerEntry>): Promise<void> {
  let links = 0;
  let at = '';
  const rest = path.split('/').filter(Boolean);
  for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
    if (part === '.' || part === '..') {
      at = part === '..' ? dirname(at) : at;
      continue;
    }
    at = join('/', at, part);
    const found = await lstat(at);
    if (found.isSymbolicLink()) {
      if (++links > 40) throw new Error(`too many symbolic links on the way to ${path}`);
      const target = await readlink(at);
      entries.set(at, { type: 'symlink', path: at, target });
      rest.unshift(...target.split('/').filter(Boolean));
      at = target.startsWith('/') ? '/' : dirname(at);
    } else if (found.isFile()) {
      entries.set(at, { type: 'file', path: at, hostFile: at, mode: found.mode & 0o777 });
    } else {
      entries.set(at, { type: 'directory', path: at, mode: found.mode & 0o7777 });
    }
  }
}

interface SearchPath {
  /** Searched by a loader without a cache. */
  readonly builtIn: readonly string[];
  readonly configured: readonly string[];
}

async function readElf(path: string): Promise<ElfDependencies | undefined> {
  return parseElf(await readFile(path));
}

async function findLibrary(name: string, user: string, elf: ElfDependencies, search: SearchPath): Promise<string | undefined> {
  if (name.includes('/')) return name;
  const origin = dirname(await realpath(user));
  const own = elf.runpath.filter(Boolean).map((dir) => dir.replace(/\$ORIGIN|\$\{ORIGIN\}/g, origin));
  for (const dir of [...own, ...search.builtIn, ...search.configured]) {
    const candidate = join(dir, name);
    // Directories of other architectures hold libraries of the same names.
    const found = await readElf(candidate).catch(() => undefined);
    if (found?.machine === elf.machine) return candidate;
  }
  return undefined;
}

/**
 * The files of this machine that a program needs to run on its own: itself, its interpreter at its fixed path, and every library that these load
 * (ELF DT_NEEDED, transitively), links resolved. Ready for `buildLayer`. With `at`, the program stands at that path instead of its own.
 * Libraries opened at run time (dlopen) are not seen. Throws when a library is not found.
 */
export async function collectProgram(path: string, options: { at?: string } = {}): Promise<LayerEntry[]> {
  const search: SearchPath = { builtIn: LOADER_DIRS, configured: await configuredDirs() };
  const entries = new Map<string, LayerEntry>();
  if (options.at === undefined) await mirrorPath(path, entries);
  else entries.set(options.at, { type: 'file', path: options.at, hostFile: await realpath(path), mode: 0o755 });
  const queue = [path];
  const seen = new Set<string>();
  for (let user = queue.shift(); user !== undefined; user = queue.shift()) {
    const elf = await readElf(user);
    if (elf?.interpreter) await mirrorPath(elf.interpreter, entries);
    for (const name of elf?.needed ?? []) {
      const library = await findLibrary(name, user, elf as ElfDependencies, search);
      if (!library) throw new Error(`${user} needs ${name}, which is not on this machine`);
      if (seen.has(library)) continue;
      seen.add(library);
      queue.push(library);
      await placeLibrary(name, library, search, entries);
    }
  }
  return [...entries.values()];
}

/** A library from a directory that only this machine's loader is told of goes where any loader looks. */
async function placeLibrary(name: string, library: string, search: SearchPath, entries: Map<string, LayerEntry>): Promise<void> {
  if (!search.configured.includes(dirname(library)) || search.builtIn.includes(dirname(library))) return mirrorPath(library, entries);
  entries.set(`/usr/lib/${name}`, { type: 'file', path: `/usr/lib/${name}`, hostFile: await realpath(library), mode: 0o755 });
}

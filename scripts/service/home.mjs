import { randomBytes, randomInt } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * $BERTH_HOME, where one machine's service keeps everything:
 *
 *   keys.json      url, registry, adminKey, tenantKey: for people and the CLI (0600)
 *   secrets.json   what the parts share among themselves (0600)
 *   start.pid      who runs here
 *   postgres/ registry/ agent/ log/
 */
export const homePath = (env = process.env) =>
  resolve(env.BERTH_HOME || (process.getuid() === 0 ? '/var/lib/berth' : join(homedir(), '.berth')));

/** A secret of `length` letters and digits, about 5.95 bits each. */
export function base62(length) {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/** Makes the folder and its secrets, once; later calls find the same. */
export function openHome(path) {
  mkdirSync(path, { recursive: true });
  // Traversable by all, readable by none but the owner: Postgres runs as an account of its own and must reach its folder.
  chmodSync(path, 0o711);
  mkdirSync(join(path, 'log'), { recursive: true, mode: 0o700 });
  const file = join(path, 'secrets.json');
  if (!existsSync(file)) {
    writeSecret(file, { adminKey: `berth_${base62(32)}`, registrySecret: randomBytes(32).toString('hex'), postgresPassword: base62(32) });
  }
  return { path, secrets: readJson(file), log: (name) => join(path, 'log', `${name}.log`) };
}

export const readKeys = (home) => (existsSync(join(home, 'keys.json')) ? readJson(join(home, 'keys.json')) : null);
export const writeKeys = (home, keys) => writeSecret(join(home, 'keys.json'), keys);

/**
 * Says that this process runs the service of `home`, so that a second start fails with a clear word. Returns the release. A holder that is gone,
 * even if its pid lives again as another process, holds nothing.
 */
export function claim(home) {
  const file = join(home, 'start.pid');
  const holder = existsSync(file) ? readJson(file) : null;
  if (holder && startTime(holder.pid) === holder.startTime) throw new Error(`Berth already runs in ${home} (process ${holder.pid})`);
  writeSecret(file, { pid: process.pid, startTime: startTime(process.pid) });
  return () => rmSync(file, { force: true });
}

function startTime(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return null;
  }
}

function writeSecret(file, value) {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, file);
}

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

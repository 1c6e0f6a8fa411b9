import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { eventually } from './eventually.js';

/** What the keeper leaves for those who wait for the server. */
export type ServerRecord = { readonly url: string } | { readonly error: string };

export interface PostgresServer {
  /** Connects to the server as superuser; append `/DATABASE`. */
  readonly url: string;
}
export interface TestDatabase {
  readonly url: string;
  /** Removes it, with whatever is still connected. */
  drop(): Promise<void>;
}

/**
 * The real Postgres server of this test run, started by whoever asks first and ended with the run. Test files run in processes of their own whose
 * common parent is the runner, so the runner's pid names the server. Root cannot run Postgres: the user `postgres` is made when it is missing.
 */
export async function startPostgres(): Promise<PostgresServer> {
  const runner = process.ppid;
  const directory = join(tmpdir(), `berth-postgres-${runner}`);
  const isFirst = await mkdir(directory, { mode: 0o711 }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw error;
    },
  );
  if (isFirst) {
    // The postgres user must reach its own directory below this one, whatever the umask.
    await chmod(directory, 0o711);
    const keeper = fileURLToPath(new URL('./postgres-keeper.js', import.meta.url));
    spawn(process.execPath, [keeper, directory, String(runner)], { detached: true, stdio: 'ignore' }).unref();
  }
  const record = await eventually(async () => JSON.parse(await readFile(join(directory, 'server.json'), 'utf8')) as ServerRecord, {
    timeoutMs: 60_000,
    intervalMs: 50,
  });
  if ('error' in record) throw new Error(`Postgres did not start: ${record.error}`);
  return { url: record.url };
}

/** A new, empty database on the server of this test run. */
export async function freshDatabase(): Promise<TestDatabase> {
  const server = await startPostgres();
  const name = `test_${randomBytes(8).toString('hex')}`;
  await execute(server, `CREATE DATABASE ${name}`);
  return { url: `${server.url}/${name}`, drop: () => execute(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function execute(server: PostgresServer, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: `${server.url}/postgres` });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

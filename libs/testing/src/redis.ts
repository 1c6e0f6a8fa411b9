import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { eventually } from './eventually.js';
import { freePort } from './free-port.js';

export interface RedisServer {
  readonly url: string;
  /** Empties it, as an operator's `FLUSHALL` would. */
  flushAll(): Promise<void>;
  /** Ends the server; `start` brings it back, empty, on the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Starts Debian's redis-server on a free port of loopback, without persistence. It dies with the process that started it. */
export async function startRedis(): Promise<RedisServer> {
  const port = await freePort();
  let child: ChildProcess | null = null;

  const start = async () => {
    const args = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      tmpdir(),
      '--loglevel',
      'warning',
    ];
    // A killed test runner must not leave servers behind.
    const started = spawn('setpriv', ['--pdeathsig', 'KILL', 'redis-server', ...args], { stdio: 'ignore' });
    child = started;
    const failed = once(started, 'error').then(([error]) => Promise.reject(error as Error));
    await Promise.race([failed, eventually(() => sendCommand(port, 'PING'), { timeoutMs: 10_000 })]);
  };
  const stop = async () => {
    const running = child;
    child = null;
    if (running !== null && running.exitCode === null) {
      running.kill('SIGKILL');
      await once(running, 'exit');
    }
  };
  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    flushAll: () => sendCommand(port, 'FLUSHALL'),
    start,
    stop,
  };
}

async function sendCommand(port: number, command: string): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write(`${command}\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    if (!answer.toString().startsWith('+')) throw new Error(`redis answered ${command} with ${answer}`);
  } finally {
    socket.destroy();
  }
}

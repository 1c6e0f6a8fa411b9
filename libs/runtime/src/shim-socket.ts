import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { parseShimExit, type ShimExit } from './shim-exit.js';

const answerTimeoutMs = 5_000;
/** sockaddr_un holds 108 bytes with the final NUL (unix(7)). */
const maxSocketPath = 107;

/** The shim is not there, broke off, or refused the request. */
export class ShimSocketError extends Error {
  override readonly name = 'ShimSocketError';
}

/** Talks to one shim; a connection for each request. */
export class ShimSocket {
  constructor(private readonly path: string) {}

  async status(): Promise<{ state: 'running' | 'exited'; pid: number }> {
    const answer = await this.request({ op: 'status' }, answerTimeoutMs);
    if (answer.state !== 'running' && answer.state !== 'exited') throw new ShimSocketError('the shim answered an unknown state');
    return { state: answer.state, pid: Number(answer.pid ?? 0) };
  }

  /** Sends a signal to the container's first process. */
  async signal(signal: number): Promise<void> {
    await this.request({ op: 'signal', signal }, answerTimeoutMs);
  }

  /** Begins to stop: the stop signal, after `graceMs` SIGKILL to the whole container. Resolves once the shim has begun. */
  async stop(graceMs: number): Promise<void> {
    await this.request({ op: 'stop', graceMs }, answerTimeoutMs);
  }

  /** Resolves with the exit record when the container has ended; throws an AbortError when `signal` says so. */
  async wait(signal?: AbortSignal): Promise<ShimExit> {
    return parseShimExit(await this.request({ op: 'wait' }, null, signal));
  }

  private async request(body: object, timeoutMs: number | null, signal?: AbortSignal): Promise<Record<string, unknown>> {
    signal?.throwIfAborted();
    const { socket, release } = await dial(this.path);
    try {
      const line = await exchange(socket, `${JSON.stringify(body)}\n`, timeoutMs, signal);
      const answer = JSON.parse(line) as Record<string, unknown>;
      if (typeof answer.error === 'string') throw new ShimSocketError(answer.error);
      return answer;
    } finally {
      socket.destroy();
      await release();
    }
  }
}

async function dial(path: string): Promise<{ socket: Socket; release: () => Promise<void> }> {
  // A path that is too long for the address is reached through a descriptor of its directory.
  const directory = Buffer.byteLength(path) > maxSocketPath ? await open(dirname(path)).catch(wrap) : null;
  const address = directory === null ? path : `/proc/self/fd/${directory.fd}/${basename(path)}`;
  return { socket: connect(address), release: async () => directory?.close() };
}

function exchange(socket: Socket, line: string, timeoutMs: number | null, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const onAbort = (): void => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.setEncoding('utf8');
    if (timeoutMs !== null) socket.setTimeout(timeoutMs, () => reject(new ShimSocketError('the shim does not answer')));
    socket.on('connect', () => socket.write(line));
    socket.on('data', (text: string) => {
      answer += text;
      const end = answer.indexOf('\n');
      if (end >= 0) resolve(answer.slice(0, end));
    });
    socket.on('error', (error) => reject(new ShimSocketError(`the shim cannot be reached: ${error.message}`, { cause: error })));
    socket.on('close', () => {
      signal?.removeEventListener('abort', onAbort);
      reject(new ShimSocketError('the shim ended without an answer'));
    });
  });
}

function wrap(cause: unknown): never {
  throw new ShimSocketError('the shim cannot be reached', { cause });
}

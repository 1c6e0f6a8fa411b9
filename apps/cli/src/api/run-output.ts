import { setTimeout as sleep } from 'node:timers/promises';
import { logRecord, type Run, run } from '@berth/wire';
import { ProblemError, ServiceError } from '../failures.js';
import { type ApiClient, longPatienceMs } from './api-client.js';

export interface OutputTarget {
  /** Resolves when the bytes may be followed by more. */
  write(bytes: Uint8Array): Promise<void>;
}

export interface OutputSelection {
  readonly follow: boolean;
  readonly attempt: number | undefined;
}

class TargetError extends Error {}

const reconnectPauseMs = 500;

/**
 * Copies a run's stdout and stderr, each byte for byte, until the run ends (`follow`) or what there is has come. The two are read apart, so
 * their order among each other is only roughly that of the container.
 */
export async function copyExact(
  client: ApiClient,
  runId: string,
  selection: OutputSelection,
  stdout: OutputTarget,
  stderr: OutputTarget,
): Promise<void> {
  await Promise.all([
    copyStream(client, runId, { ...selection, stream: 'stdout' }, stdout),
    copyStream(client, runId, { ...selection, stream: 'stderr' }, stderr),
  ]);
}

/** Copies both streams in the order in which the container wrote them; for people: what is not UTF-8 comes as U+FFFD. */
export async function copyInOrder(
  client: ApiClient,
  runId: string,
  selection: OutputSelection,
  stdout: OutputTarget,
  stderr: OutputTarget,
): Promise<void> {
  let rest = '';
  const decoder = new TextDecoder();
  await read(client, runId, { ...selection, format: 'ndjson' }, async (bytes) => {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { stream, text, partial } = logRecord.parse(JSON.parse(line));
      await (stream === 'stdout' ? stdout : stderr).write(Buffer.from(partial ? text : `${text}\n`));
    }
  });
}

async function copyStream(
  client: ApiClient,
  runId: string,
  selection: OutputSelection & { stream: 'stdout' | 'stderr' },
  target: OutputTarget,
): Promise<void> {
  await read(client, runId, selection, (bytes) => target.write(bytes));
}

/**
 * Reads a log from its beginning. When the connection breaks, or a service that restarts ends the answer early, it begins again and skips what
 * came before: a log only grows.
 */
async function read(
  client: ApiClient,
  runId: string,
  selection: OutputSelection & { readonly stream?: 'stdout' | 'stderr'; readonly format?: 'ndjson' },
  take: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const path = `/v1/runs/${encodeURIComponent(runId)}`;
  let taken = 0;
  let brokenAt: number | null = null;
  for (;;) {
    let position = 0;
    try {
      const patience = brokenAt === null ? {} : { patienceMs: longPatienceMs };
      for await (const bytes of await client.stream(`${path}/logs`, { query: { ...selection }, ...patience })) {
        const fresh = bytes.subarray(Math.max(0, taken - position));
        position += bytes.length;
        if (fresh.length === 0) continue;
        await take(fresh).catch((cause: unknown) => {
          throw new TargetError('the output cannot be written', { cause });
        });
        taken = position;
        brokenAt = null;
      }
      if (!selection.follow || isOver(await client.json(run, path, { patienceMs: longPatienceMs }), selection.attempt)) return;
    } catch (error) {
      if (error instanceof ProblemError) throw error;
      if (error instanceof TargetError) throw error.cause;
    }
    brokenAt ??= performance.now();
    if (performance.now() - brokenAt > longPatienceMs) throw new ServiceError(`the log of ${runId} broke off and cannot be read on`);
    await sleep(reconnectPauseMs);
  }
}

function isOver({ finishedAt, attempts }: Run, attempt: number | undefined): boolean {
  return finishedAt !== null || attempts.find(({ number }) => number === attempt)?.finishedAt != null;
}

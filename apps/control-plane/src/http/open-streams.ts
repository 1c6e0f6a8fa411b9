import type { ServerResponse } from 'node:http';
import { ApiKeyStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { LOGGER, type Logger } from '../logger.js';

/** A reader that takes nothing for so long is cut off. */
const stalledReaderMs = 30_000;
/** How soon a revoked key ends the streams it opened. */
const keyCheckMs = 5000;

/** What the asker of a long answer gets for it. */
export interface LongRequest {
  /** Aborted when the client is gone, its key is revoked, or the service stops. */
  readonly signal: AbortSignal;
  /** Must be called when the answer is done. */
  release(): void;
}

/** Every answer that takes long: waits and streams. They end when their client goes, when its key is revoked, and when the service stops. */
@Injectable()
export class OpenStreams {
  private readonly open = new Set<AbortController>();
  private stopping = false;

  constructor(
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** How many are open now. */
  get count(): number {
    return this.open.size;
  }

  /** Ends them all, and every later one at once. */
  stop(): void {
    this.stopping = true;
    for (const controller of this.open) controller.abort();
  }

  track(reply: FastifyReply, keyHash: string): LongRequest {
    const controller = new AbortController();
    const abort = () => controller.abort();
    if (this.stopping) abort();
    this.open.add(controller);
    reply.raw.once('close', abort);
    const keyCheck = setInterval(() => void this.abortIfRevoked(keyHash, controller), keyCheckMs);
    return {
      signal: controller.signal,
      release: () => {
        clearInterval(keyCheck);
        reply.raw.off('close', abort);
        this.open.delete(controller);
      },
    };
  }

  /**
   * Sends chunks as they come, no faster than the client reads: the next one is asked for when the last is on its way. A stream that was
   * aborted is cut, not ended, so that its reader can tell it from a whole one.
   */
  async send(
    reply: FastifyReply,
    keyHash: string,
    contentType: string,
    chunks: (signal: AbortSignal) => AsyncIterable<string | Uint8Array>,
  ): Promise<void> {
    const { signal, release } = this.track(reply, keyHash);
    reply.hijack();
    const response = reply.raw;
    response.writeHead(200, { ...(reply.getHeaders() as Record<string, string>), 'content-type': contentType });
    response.flushHeaders();
    try {
      for await (const chunk of chunks(signal)) {
        if (signal.aborted) break;
        if (!response.write(chunk)) await drained(response, signal);
      }
      if (signal.aborted) response.destroy();
      else response.end();
    } catch (error) {
      this.logger.error({ requestId: reply.request.id, err: error }, 'stream');
      response.destroy();
    } finally {
      release();
    }
  }

  private async abortIfRevoked(keyHash: string, controller: AbortController): Promise<void> {
    try {
      if ((await this.apiKeys.authenticate(keyHash, new Date())) === null) controller.abort();
    } catch (error) {
      // An outage of the database is no revocation.
      this.logger.warn({ err: error }, 'key check of an open stream');
    }
  }
}

async function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      response.destroy();
      done();
    }, stalledReaderMs);
    const done = () => {
      clearTimeout(timer);
      response.off('drain', done);
      response.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
    signal.addEventListener('abort', done, { once: true });
  });
}

import type { IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Caller } from '../access/caller.js';
import { RegistryError } from '../errors.js';
import type { RegistryMetrics } from '../metrics.js';
import type { ContentStore } from '../storage/content-store.js';
import type { RepositoryStore } from '../storage/repository-store.js';
import type { UploadStore } from '../storage/upload-store.js';

/** What the endpoints work on. */
export interface Stores {
  readonly content: ContentStore;
  readonly repositories: RepositoryStore;
  readonly uploads: UploadStore;
}

/** One request, its caller known and allowed to do what it asks. */
export interface Exchange {
  readonly stores: Stores;
  readonly metrics: RegistryMetrics;
  readonly caller: Caller;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly query: URLSearchParams;
  /** Throws unless the caller is still who it was: for work that took long. */
  readonly reconfirm: () => Promise<void>;
}

/**
 * The request's body as it arrives. Leaving the loop early keeps the connection, so that the refusal can be answered. A body that breaks off
 * ends in an error.
 */
export function bodyOf(request: IncomingMessage): AsyncIterable<Buffer> {
  return { [Symbol.asyncIterator]: () => request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer> };
}

/** The whole body in memory; throws SIZE_INVALID with 413 beyond `maxBytes`. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLong = (): RegistryError => new RegistryError('SIZE_INVALID', `at most ${maxBytes} bytes are allowed here`, { status: 413 });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLong();
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of bodyOf(request)) {
    length += chunk.length;
    if (length > maxBytes) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

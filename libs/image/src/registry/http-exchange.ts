import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ImageError } from '../image-error.js';
import { assertPublicLiteral, lookupPublicAddress } from './guarded-lookup.js';

export interface ExchangeRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Readable;
  readonly signal?: AbortSignal | undefined;
}

export interface ExchangeResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body; whoever receives the response reads it to the end or calls `discardBody`. */
  readonly body: IncomingMessage;
  /** The URL that answered. */
  readonly url: URL;
}

export interface ExchangeOptions {
  /** From the first byte sent to the response's head, connecting included; with an upload, the longest silence on the socket. */
  readonly headTimeoutMs: number;
  /** Whether this URL may lead to an internal address. */
  readonly allowsInternal: (url: URL) => boolean;
}

const unavailable = (url: URL, cause: unknown): ImageError => {
  const reason = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : String(cause);
  return new ImageError('registryUnavailable', `${url.host}: ${reason}`, { cause });
};

/** Frees the connection of a response whose body nobody wants: a short one is read to its end, so that the connection is used again. */
export function discardBody(response: ExchangeResponse): void {
  const length = Number(response.headers['content-length'] ?? Number.NaN);
  response.body.on('error', () => {});
  if (length <= 64 * 1024) response.body.resume();
  else response.body.destroy();
}

/**
 * One HTTP request and its response, no redirects, over connections that are kept for the next. Refuses internal addresses at connect time
 * unless the URL is allowed them. Throws `ImageError` (`addressDenied`, `registryUnavailable`, `timeout`), or the signal's reason when aborted.
 */
export class HttpExchange {
  readonly #options: ExchangeOptions;
  // Idle connections are unreferenced by Node.js and time out by themselves, so that nobody has to close an exchange.
  readonly #http = new HttpAgent({ keepAlive: true, timeout: 30_000, maxSockets: 16 });
  readonly #https = new HttpsAgent({ keepAlive: true, timeout: 30_000, maxSockets: 16 });

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  async send(request: ExchangeRequest): Promise<ExchangeResponse> {
    const { url, signal } = request;
    signal?.throwIfAborted();
    if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new ImageError('addressDenied', `${url.protocol}// is not HTTP`);
    const internalAllowed = this.#options.allowsInternal(url);
    if (!internalAllowed) assertPublicLiteral(url);
    const options: RequestOptions = {
      method: request.method,
      headers: request.headers,
      agent: url.protocol === 'https:' ? this.#https : this.#http,
      ...(internalAllowed ? {} : { lookup: lookupPublicAddress }),
      ...(signal ? { signal } : {}),
    };
    try {
      return await this.#exchange(request, options);
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof ImageError ? error : unavailable(url, error);
    }
  }

  #exchange(request: ExchangeRequest, options: RequestOptions): Promise<ExchangeResponse> {
    const { url, body } = request;
    const silent = () => new ImageError('timeout', `${url.host} did not answer within ${this.#options.headTimeoutMs} ms`);
    return new Promise((resolve, reject) => {
      const outgoing = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options);
      const uploads = body !== undefined;
      const timer = uploads ? undefined : setTimeout(() => outgoing.destroy(silent()), this.#options.headTimeoutMs);
      if (uploads) outgoing.setTimeout(this.#options.headTimeoutMs, () => outgoing.destroy(silent()));
      outgoing.once('response', (incoming) => {
        clearTimeout(timer);
        outgoing.setTimeout(0);
        // Whoever holds the body learns of a later failure from it; the request's own event would be unhandled.
        outgoing.on('error', () => {});
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: incoming, url });
      });
      outgoing.once('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      if (body === undefined || body instanceof Uint8Array) outgoing.end(body);
      else pipeline(body, outgoing).catch(reject);
    });
  }
}

import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImageError, isTransient } from '../image-error.js';
import { discardBody, type ExchangeResponse, HttpExchange } from './http-exchange.js';
import type { RegistryLimits } from './registry-limits.js';
import { RegistryPauses } from './registry-pauses.js';
import { fetchToken, parseChallenges } from './token-auth.js';

/** Where a registry listens and what the operator grants it. */
export interface RegistryEndpoint {
  /** Base URL, e.g. `https://registry-1.docker.io`; a path in it is a prefix of `/v2/`. */
  readonly url: string;
  /** The registry itself may have an internal address. */
  readonly allowInternal: boolean;
  /** Other origins that may see the registry's credential as token realms, e.g. `https://auth.docker.io`. */
  readonly tokenRealms?: readonly string[];
}

export interface TransportOptions {
  readonly endpoint: RegistryEndpoint;
  /** A whole Authorization header value for this registry. */
  readonly authorization: string | undefined;
  /** Origins besides the registry's own that may be internal: storage or a realm behind a redirect. */
  readonly internalOrigins: readonly string[];
  readonly limits: RegistryLimits;
}

export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Relative to the endpoint, e.g. `/v2/library/busybox/manifests/latest`, or a URL of the registry's own. */
  readonly target: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Called once per try, so that a body can be sent again. */
  readonly body?: () => Uint8Array | Readable;
  readonly scopes: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Of this process: a registry counts requests, not pulls. */
const pauses = new RegistryPauses();

const RETRIED = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Speaks HTTP to one registry with one credential: tokens, redirects, retries. Credentials go to the registry's own origin and, for a token, to
 * realms that the operator named; every other host, by redirect or as a realm, sees neither credentials nor tokens.
 */
export class RegistryTransport {
  readonly base: URL;
  readonly #options: TransportOptions;
  readonly #exchange: HttpExchange;
  readonly #tokens = new Map<string, { token: string; expiresAt: number }>();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.base = new URL(options.endpoint.url);
    this.#exchange = new HttpExchange({
      headTimeoutMs: options.limits.headTimeoutMs,
      allowsInternal: (url) =>
        (options.endpoint.allowInternal && url.origin === this.base.origin) || options.internalOrigins.includes(url.origin),
    });
  }

  /** Sends a request and returns the answer of whoever answered at last: any status but a redirect, 401, 429 and the 5xx that were retried. */
  async send(request: RegistryRequest): Promise<ExchangeResponse> {
    const { attempts, backoffMs } = this.#options.limits;
    for (let attempt = 1; ; attempt++) {
      await this.#pause(pauses.leftMs(this.base.origin), request);
      const last = attempt >= attempts;
      let pauseMs = backoffMs * 2 ** (attempt - 1) * (0.5 + Math.random());
      try {
        const response = await this.#authorized(request);
        if (!RETRIED.has(response.status)) return response;
        discardBody(response);
        const failure = new ImageError('registryUnavailable', `${response.url.host} answered ${response.status}`);
        const asked = retryAfterMs(response.headers['retry-after']);
        if (asked <= this.#options.limits.retryAfterMaxMs) pauses.note(this.base.origin, asked);
        pauseMs = Math.max(pauseMs, asked);
        if (last || pauseMs > this.#options.limits.retryAfterMaxMs) throw failure;
      } catch (error) {
        if (last || !isTransient(error) || pauseMs > this.#options.limits.retryAfterMaxMs) throw error;
      }
      await this.#pause(pauseMs, request);
    }
  }

  async #pause(ms: number, { signal }: RegistryRequest): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
  }

  /** The absolute URL of a target; one that the registry gave (an upload's Location) must be of its own origin. */
  urlOf(target: string | URL): URL {
    const url = target instanceof URL ? target : new URL(this.base.pathname.replace(/\/$/, '') + target, this.base.origin);
    if (url.origin !== this.base.origin) throw new ImageError('addressDenied', `${this.base.host} directs an upload to ${url.host}`);
    return url;
  }

  async #authorized(request: RegistryRequest): Promise<ExchangeResponse> {
    const scope = request.scopes.join(' ');
    const known = this.#tokens.get(scope);
    const held = known && known.expiresAt > Date.now() ? `Bearer ${known.token}` : this.#options.authorization;
    const first = await this.#followed(request, held);
    if (first.status !== 401) return first;
    discardBody(first);
    const refused = new ImageError(
      'unauthorized',
      held ? `${this.base.host} refuses the credentials given` : `${this.base.host} wants credentials for this image`,
    );
    const challenge = parseChallenges(first.headers['www-authenticate'] ?? '').find(({ scheme }) => scheme === 'bearer');
    // A bearer credential of ours is what the registry asks for already; there is nothing to trade it for.
    if (!challenge || first.url.origin !== this.base.origin || this.#options.authorization?.startsWith('Bearer ')) throw refused;
    const { token, expiresInMs } = await fetchToken(this.#exchange, {
      challenge,
      registry: this.base,
      scopes: request.scopes,
      authorization: this.#options.authorization,
      trustedRealms: this.#options.endpoint.tokenRealms ?? [],
      signal: request.signal,
    });
    this.#tokens.set(scope, { token, expiresAt: Date.now() + expiresInMs * 0.9 });
    const second = await this.#followed(request, `Bearer ${token}`);
    if (second.status !== 401) return second;
    discardBody(second);
    this.#tokens.delete(scope);
    throw refused;
  }

  async #followed(request: RegistryRequest, authorization: string | undefined): Promise<ExchangeResponse> {
    let url = this.urlOf(request.target);
    for (let hops = 0; ; hops++) {
      const own = url.origin === this.base.origin;
      const body = request.body?.();
      const response = await this.#exchange.send({
        method: request.method,
        url,
        headers: own ? { ...request.headers, ...(authorization ? { authorization } : {}) } : foreignHeaders(request.headers ?? {}),
        ...(body === undefined ? {} : { body }),
        signal: request.signal,
      });
      if (!REDIRECTS.has(response.status)) return response;
      discardBody(response);
      if (hops >= this.#options.limits.redirectsMax) throw new ImageError('registryUnavailable', `${this.base.host} redirects too often`);
      if (request.method !== 'GET' && request.method !== 'HEAD')
        throw new ImageError('registryUnavailable', `${this.base.host} redirects an upload`);
      url = redirectTarget(response, url);
    }
  }
}

/** What another host needs to serve bytes, and nothing of ours besides. */
function foreignHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => ['accept', 'accept-encoding', 'range'].includes(name.toLowerCase())),
  );
}

function redirectTarget(response: ExchangeResponse, from: URL): URL {
  let url: URL;
  try {
    url = new URL(response.headers.location ?? '', from);
  } catch {
    throw new ImageError('registryUnavailable', `${from.host} redirects to nowhere`);
  }
  if (response.headers.location === undefined) throw new ImageError('registryUnavailable', `${from.host} redirects to nowhere`);
  if (from.protocol === 'https:' && url.protocol !== 'https:')
    throw new ImageError('addressDenied', `${from.host} redirects to plain ${url.protocol}//`);
  // Credentials in a redirect's URL would become an Authorization header.
  url.username = '';
  url.password = '';
  return url;
}

function retryAfterMs(header: string | undefined): number {
  if (header === undefined) return 0;
  const value = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(value) ? Math.max(0, value) : 0;
}

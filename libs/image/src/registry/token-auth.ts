import { ImageError } from '../image-error.js';
import { readBounded } from './bounded-body.js';
import { discardBody, type HttpExchange } from './http-exchange.js';

/** One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1): its scheme in lower case and its parameters, names in lower case. */
export interface AuthChallenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const PARAMETER = new RegExp(`\\s*(${TOKEN})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))\\s*(?:,|$)`, 'y');
const SCHEME = new RegExp(`[\\s,]*(${TOKEN})(?:\\s+|$)`, 'y');

/** Parses a WWW-Authenticate header, all challenges of it; what follows a malformed one is dropped. Never throws. */
export function parseChallenges(header: string): AuthChallenge[] {
  const challenges: AuthChallenge[] = [];
  let at = 0;
  while (at < header.length) {
    SCHEME.lastIndex = at;
    const scheme = SCHEME.exec(header);
    if (!scheme?.[1]) break;
    at = SCHEME.lastIndex;
    const parameters: Record<string, string> = Object.create(null);
    for (;;) {
      PARAMETER.lastIndex = at;
      const parameter = PARAMETER.exec(header);
      if (!parameter?.[1]) break;
      at = PARAMETER.lastIndex;
      parameters[parameter[1].toLowerCase()] = parameter[2]?.replace(/\\(.)/g, '$1') ?? parameter[3] ?? '';
    }
    challenges.push({ scheme: scheme[1].toLowerCase(), parameters });
  }
  return challenges;
}

export interface TokenRequest {
  readonly challenge: AuthChallenge;
  /** The registry that sent the challenge. */
  readonly registry: URL;
  /** e.g. `repository:library/busybox:pull`; ours, not the challenge's. */
  readonly scopes: readonly string[];
  /** Our credential for the registry, a whole header value. */
  readonly authorization: string | undefined;
  /** Origins besides the registry's own that may see the credential. */
  readonly trustedRealms: readonly string[];
  readonly signal: AbortSignal | undefined;
}

export interface PullToken {
  readonly token: string;
  readonly expiresInMs: number;
}

const TOKEN_BYTES_MAX = 64 * 1024;

function realmUrl({ challenge, registry }: TokenRequest): URL {
  let url: URL;
  try {
    url = new URL(challenge.parameters.realm ?? '');
  } catch {
    throw new ImageError('unauthorized', `${registry.host} names no usable token realm`);
  }
  if (registry.protocol === 'https:' && url.protocol !== 'https:')
    throw new ImageError('addressDenied', `${registry.host} names a token realm without TLS`);
  url.username = '';
  url.password = '';
  return url;
}

/**
 * Gets a bearer token as the distribution's token specification says. The credential goes to the realm only when the realm is the registry
 * itself or an origin that the operator trusts for it: a registry may name any realm it likes, and so could collect passwords for others.
 */
export async function fetchToken(exchange: HttpExchange, request: TokenRequest): Promise<PullToken> {
  const url = realmUrl(request);
  const { challenge, registry, authorization } = request;
  const trusted = url.origin === registry.origin || request.trustedRealms.includes(url.origin);
  if (challenge.parameters.service !== undefined) url.searchParams.set('service', challenge.parameters.service);
  for (const scope of request.scopes) url.searchParams.append('scope', scope);
  const headers: Record<string, string> = { accept: 'application/json' };
  if (trusted && authorization?.startsWith('Basic ')) headers.authorization = authorization;
  const response = await exchange.send({ method: 'GET', url, headers, signal: request.signal });
  if (response.status !== 200) {
    discardBody(response);
    if (response.status >= 500 || response.status === 429)
      throw new ImageError('registryUnavailable', `token realm ${url.host} answered ${response.status}`);
    const hint = authorization && !trusted ? '; credentials are not sent to a realm on another host' : '';
    throw new ImageError('unauthorized', `token realm ${url.host} answered ${response.status}${hint}`);
  }
  const bytes = await readBounded(response.body, url.host, TOKEN_BYTES_MAX, { windowMs: 10_000, minBytes: 1 });
  return parseToken(bytes, url.host);
}

function parseToken(bytes: Buffer, host: string): PullToken {
  let answer: { token?: unknown; access_token?: unknown; expires_in?: unknown };
  try {
    answer = JSON.parse(bytes.toString('utf8')) ?? {};
  } catch {
    answer = {};
  }
  const token = answer.token ?? answer.access_token;
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) throw new ImageError('unauthorized', `token realm ${host} gave no token`);
  const seconds = typeof answer.expires_in === 'number' && answer.expires_in > 0 ? answer.expires_in : 60;
  return { token, expiresInMs: Math.min(seconds, 3600) * 1000 };
}

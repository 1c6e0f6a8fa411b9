import { grantedScopes, hashSecret, isPullToken, isSecret, verifyPullToken } from '@berth/core';
import type { ApiKeyStore } from '@berth/store';
import { RegistryError } from '../errors.js';
import type { Caller } from './caller.js';
import { presentedSecret } from './credentials.js';

interface CachedCaller {
  readonly caller: Caller;
  readonly untilMs: number;
}

/**
 * Tells who sent a request. API keys are looked up in Postgres by their hash and remembered for `keyCacheMs`, so that a layer of a thousand
 * ranges costs one query and a revoked key still stops working within that time. Unknown keys are not remembered, secrets never.
 */
export class Authenticator {
  readonly #cache = new Map<string, CachedCaller>();
  readonly #lookups = new Map<string, Promise<Caller | null>>();

  constructor(
    private readonly keys: ApiKeyStore,
    private readonly tokenSecret: Uint8Array,
    private readonly keyCacheMs: number,
    private readonly nowMs: () => number,
  ) {}

  /** Throws UNAUTHORIZED for missing and wrong credentials alike, UNAVAILABLE when they cannot be checked now. */
  async identify(authorization: string | undefined): Promise<Caller> {
    const secret = presentedSecret(authorization);
    const caller = secret === null ? null : await this.#callerOf(secret);
    if (caller === null) {
      throw new RegistryError('UNAUTHORIZED', 'log in with any user name and a Berth API key as the password', {
        headers: { 'www-authenticate': 'Basic realm="berth"' },
      });
    }
    return caller;
  }

  async #callerOf(secret: string): Promise<Caller | null> {
    if (isPullToken(secret)) {
      const payload = verifyPullToken(secret, this.tokenSecret, this.nowMs());
      if (payload === null) return null;
      return { kind: 'token', repositories: payload.repositories, tenant: payload.tenant ?? null, actions: payload.actions };
    }
    if (!isSecret('berth', secret)) return null;

    const hash = hashSecret(secret);
    const cached = this.#cache.get(hash);
    if (cached !== undefined && this.nowMs() < cached.untilMs) return cached.caller;
    this.#cache.delete(hash);
    const pending = this.#lookups.get(hash) ?? this.#lookUp(hash).finally(() => this.#lookups.delete(hash));
    this.#lookups.set(hash, pending);
    return pending;
  }

  async #lookUp(hash: string): Promise<Caller | null> {
    // Before the query: what the answer says was true no earlier than this.
    const askedAtMs = this.nowMs();
    const found = await this.keys.authenticate(hash, new Date(askedAtMs)).catch((error: unknown) => {
      throw new RegistryError('UNAVAILABLE', 'API keys cannot be checked now', { headers: { 'retry-after': '5' }, cause: error });
    });
    if (found === null) return null;
    const { key, tenant } = found;
    const caller: Caller =
      tenant === null
        ? { kind: 'admin', scopes: grantedScopes('operator', key) }
        : { kind: 'tenant', tenant: tenant.name, scopes: grantedScopes('tenant', key) };
    this.#remember(hash, {
      caller,
      untilMs: Math.min(askedAtMs + this.keyCacheMs, key.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY),
    });
    return caller;
  }

  #remember(hash: string, cached: CachedCaller): void {
    if (this.#cache.size >= maxCachedKeys) this.#cache.delete(this.#cache.keys().next().value ?? hash);
    this.#cache.set(hash, cached);
  }
}

const maxCachedKeys = 10_000;

import { ApiKeyStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { Signals } from '../queue/signals.js';

type Found = NonNullable<Awaited<ReturnType<ApiKeyStore['authenticate']>>>;

/** A word of a change may get lost on its way from another replica; then a key is believed for so long at most. */
const believedMs = 1000;
const keysMax = 10_000;

/**
 * Who holds which key, remembered so that a client that sends much costs no query for each request. A change of a tenant or its keys is forgotten at once on
 * the replica that made it, within milliseconds on the others, and after a second in any case. Unknown keys are not remembered.
 */
@Injectable()
export class KnownKeys {
  private readonly found = new Map<string, { readonly value: Found; readonly untilMs: number }>();
  private readonly asking = new Map<string, Promise<Found | null>>();

  constructor(
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    private readonly signals: Signals,
  ) {
    signals.on('tenantChanged', () => this.forget());
  }

  /** The live key with this hash and its tenant, whose limits and policy are those of now; what it has used may be of a second ago. */
  async authenticate(hash: string): Promise<Found | null> {
    const known = this.found.get(hash);
    const nowMs = Date.now();
    if (known !== undefined && nowMs < known.untilMs) return known.value;
    return this.asking.get(hash) ?? this.ask(hash, nowMs);
  }

  /** Something about a tenant or its keys, or the operator's (null), is not what it was. After the commit. */
  changed(tenantId: string | null): void {
    this.forget();
    this.signals.send({ kind: 'tenantChanged', tenantId });
  }

  private forget(): void {
    this.found.clear();
    // What is being read may have been read before the change.
    this.asking.clear();
  }

  private ask(hash: string, nowMs: number): Promise<Found | null> {
    const asking = this.apiKeys.authenticate(hash, new Date(nowMs)).then((value) => {
      if (this.asking.get(hash) === asking && value !== null) this.remember(hash, value, nowMs);
      return value;
    });
    this.asking.set(hash, asking);
    const done = () => {
      if (this.asking.get(hash) === asking) this.asking.delete(hash);
    };
    asking.then(done, done);
    return asking;
  }

  private remember(hash: string, value: Found, nowMs: number): void {
    if (this.found.size >= keysMax) this.found.clear();
    const expiresMs = value.key.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY;
    this.found.set(hash, { value, untilMs: Math.min(nowMs + believedMs, expiresMs) });
  }
}

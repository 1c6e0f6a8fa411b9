import type { PulledImage } from '@berth/image';
import type { RunSpec } from '@berth/wire';

/** All that a sandbox which waits with its root has of the runs that it is for: what a claim may not change. */
export interface RootPlan {
  readonly tenant: string;
  /** The image's digest, as runs name it. */
  readonly image: string;
  readonly layers: PulledImage['layers'];
  readonly network: RunSpec['network'];
  readonly readOnlyRootfs: boolean;
  readonly init: boolean;
  /** The working directory of the process, resolved. */
  readonly cwd: string;
  readonly limits: { readonly cpuMillis: number; readonly memoryBytes: number; readonly pids: number; readonly shmBytes: number };
}

/** Equal for runs that one sandbox with its root would do for; null for a run that no such sandbox is made for: its writable layer is bounded, or its runtime parks nothing. */
export function rootKey(tenant: string, image: string, spec: RunSpec): string | null {
  const { cpuMillis, memoryBytes, pids, shmBytes, diskBytes } = spec.resources;
  if (spec.runtimeClass !== 'berth' || diskBytes !== undefined) return null;
  const { network, readOnlyRootfs, init, workingDir = null } = spec;
  return JSON.stringify([tenant, image, network, readOnlyRootfs, init, workingDir, cpuMillis, memoryBytes, pids, shmBytes]);
}

/**
 * What ran lately, and how many sandboxes with a root are wanted for it. Pure but for its memory: the time is an argument, in milliseconds. INVARIANTS
 *   - the wanted are `size` at most, whatever ran;
 *   - tenants are served in turn, the one that ran last first, and of each what it ran last first: no tenant's many images crowd out another's one;
 *   - nothing is wanted of what did not run for `idleMs`.
 */
export class RecentRoots {
  /** What ran last stands last. */
  readonly #recent = new Map<string, { readonly plan: RootPlan; readonly usedMs: number }>();

  constructor(
    private readonly size: number,
    private readonly idleMs: number,
  ) {}

  used(key: string, plan: RootPlan, nowMs: number): void {
    this.#recent.delete(key);
    this.#recent.set(key, { plan, usedMs: nowMs });
    this.age(nowMs);
  }

  planOf(key: string): RootPlan | undefined {
    return this.#recent.get(key)?.plan;
  }

  forget(key: string): void {
    this.#recent.delete(key);
  }

  forgetAll(): void {
    this.#recent.clear();
  }

  /** How many are wanted under each key, the most wanted first. */
  wanted(nowMs: number): ReadonlyMap<string, number> {
    this.age(nowMs);
    const keys = this.inTurn();
    const counts = new Map<string, number>();
    for (let given = 0; given < this.size && keys.length > 0; given++) {
      const key = keys[given % keys.length] as string;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  /** The first of each tenant, then the second of each, and so on. */
  private inTurn(): readonly string[] {
    const seen = new Map<string, number>();
    const ranked = [...this.#recent].reverse().map(([key, { plan }]) => {
      const rank = seen.get(plan.tenant) ?? 0;
      seen.set(plan.tenant, rank + 1);
      return { key, rank };
    });
    // The sort is stable: among equals what ran last stays first.
    return ranked.sort((a, b) => a.rank - b.rank).map(({ key }) => key);
  }

  /** Forgets what is too old, and what is so far behind that it would never be wanted. */
  private age(nowMs: number): void {
    for (const [key, { usedMs }] of this.#recent) if (nowMs - usedMs >= this.idleMs) this.#recent.delete(key);
    const kept = new Set(this.inTurn().slice(0, this.size));
    for (const key of this.#recent.keys()) if (!kept.has(key)) this.#recent.delete(key);
  }
}

import { decayShare, dominantShare, type Fleet, fleetCapacity, type TenantStanding } from '@berth/core';
import { Injectable } from '@nestjs/common';

interface Share {
  decayed: number;
  /** As it stood at the last look. */
  current: number;
}

/** Below this a share is as good as forgotten. */
const leastShare = 1e-4;

/**
 * What tenants held lately, decayed. Kept in memory by each replica from what it sees of all placements: it fades within seconds, so a replica that
 * starts knows as much as the others soon enough.
 */
@Injectable()
export class FairShares {
  private readonly shares = new Map<string, Share>();
  private lookedAtMs = 0;

  /** The decayed shares at a look into the store; `nowMs` must not go back. */
  observe(view: { readonly fleet: Fleet; readonly tenants: readonly TenantStanding[] }, nowMs: number): ReadonlyMap<string, number> {
    const elapsedMs = nowMs - this.lookedAtMs;
    this.lookedAtMs = nowMs;
    for (const [tenantId, share] of this.shares) {
      share.decayed = decayShare(share.decayed, share.current, elapsedMs);
      share.current = 0;
      if (share.decayed < leastShare) this.shares.delete(tenantId);
    }
    const capacity = fleetCapacity(view.fleet);
    for (const { tenantId, held } of view.tenants) this.take(tenantId, dominantShare(held, capacity));
    return new Map([...this.shares].map(([tenantId, { decayed }]) => [tenantId, decayed]));
  }

  /** Counts what was placed after a look: it is held from now on, even if it ends before the next one. */
  placed(fleet: Fleet, runs: readonly { readonly tenantId: string; readonly cpuMillis: number; readonly memoryBytes: number }[]): void {
    const capacity = fleetCapacity(fleet);
    for (const run of runs) this.take(run.tenantId, dominantShare(run, capacity));
  }

  private take(tenantId: string, share: number): void {
    const known = this.shares.get(tenantId) ?? { decayed: 0, current: 0 };
    known.current += share;
    this.shares.set(tenantId, known);
  }
}

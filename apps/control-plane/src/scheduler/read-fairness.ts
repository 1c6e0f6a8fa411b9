import { dominantShare, fleetCapacity, owedShares } from '@berth/core';
import { RunStore, type TenantRow } from '@berth/store';
import type { Fairness } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';

/** How the fleet is shared now: what tenants with work are owed by their weights, and what they have. */
@Injectable()
export class ReadFairness {
  constructor(@Inject(RunStore) private readonly runs: RunStore) {}

  /** One tenant's part. Of the others it shows no more than the sum of the weights of those with work, as far as a share tells it. */
  async ofTenant(tenant: TenantRow): Promise<Fairness> {
    const found = (await this.ofAll()).find(({ tenantId }) => tenantId === tenant.id);
    return found?.fairness ?? { weight: tenant.weight, owedShare: 0, receivedShare: 0, awaitingRuns: 0, worstWaitMs: 0 };
  }

  /** Every tenant that holds room on a node or waits for it. */
  async ofAll(): Promise<{ tenantId: string; fairness: Fairness }[]> {
    const { fleet, tenants } = await this.runs.standings();
    const capacity = fleetCapacity(fleet);
    const owed = owedShares(tenants);
    const now = Date.now();
    return tenants.map(({ tenantId, weight, held, awaiting, oldestQueuedAt }) => ({
      tenantId,
      fairness: {
        weight,
        owedShare: rounded(owed.get(tenantId) ?? 0),
        receivedShare: rounded(dominantShare(held, capacity)),
        awaitingRuns: awaiting,
        worstWaitMs: oldestQueuedAt === null ? 0 : Math.max(0, now - oldestQueuedAt.getTime()),
      },
    }));
  }
}

function rounded(share: number): number {
  return Math.round(share * 1000) / 1000;
}

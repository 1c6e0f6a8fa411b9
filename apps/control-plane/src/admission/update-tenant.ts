import { type QuotaRow, type TenantRow, TenantStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from '../reporting/run-changes.js';

/** Changes a tenant's quota or policy. A raised quota admits runs that waited for it at once; a lowered one ends none. */
@Injectable()
export class UpdateTenant {
  constructor(
    @Inject(TenantStore) private readonly tenants: TenantStore,
    private readonly wakeUps: WakeUps,
    private readonly changes: RunChanges,
  ) {}

  /** Null when there is no such tenant. */
  async execute(
    id: string,
    change: { quota?: Partial<QuotaRow>; requireDigest?: boolean; features?: readonly string[] },
  ): Promise<TenantRow | null> {
    const outcome = await this.tenants.update(id, change);
    if (outcome === null) return null;
    this.wakeUps.admitted(outcome.admitted);
    this.changes.announce(outcome.admitted);
    return outcome.tenant;
  }
}

import { type Actor, type TenantRow, TenantStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { AnnounceOutcome } from '../reporting/announce-outcome.js';

/** Changes a tenant's quota, the limits of its runs, or its policy. A raised quota admits runs that waited for it at once; a lowered one ends none. */
@Injectable()
export class UpdateTenant {
  constructor(
    @Inject(TenantStore) private readonly tenants: TenantStore,
    private readonly announce: AnnounceOutcome,
  ) {}

  /** Null when there is no such tenant. */
  async execute(id: string, change: Parameters<TenantStore['update']>[1], by: Actor): Promise<TenantRow | null> {
    const outcome = await this.tenants.update(id, change, by);
    if (outcome === null) return null;
    this.announce.execute({ admitted: outcome.admitted });
    return outcome.tenant;
  }
}

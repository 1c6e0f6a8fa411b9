import { RunStore, type TenantRow } from '@berth/store';
import type { DiskUsage } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { ListImages } from './list-images.js';

/** What a tenant occupies: in the registry, on nodes, in logs. */
@Injectable()
export class ReadDiskUsage {
  constructor(
    private readonly listImages: ListImages,
    @Inject(RunStore) private readonly runs: RunStore,
  ) {}

  /** Throws `registryUnavailable`. */
  async execute(tenant: TenantRow): Promise<DiskUsage> {
    const [{ usage }, totals] = await Promise.all([this.listImages.execute(tenant), this.runs.totals(tenant.id)]);
    return {
      images: usage,
      containers: { active: totals.onNodes, reservedBytes: tenant.used.diskBytes },
      logs: {
        runs: totals.runs,
        endedRuns: totals.ended,
        sizeBytes: tenant.used.logBytes,
        reclaimableBytes: totals.endedLogBytes,
      },
    };
  }
}

import { AppError, fieldOfFeature, neededFeatures } from '@berth/core';
import type { QuoteInput, TenantRow } from '@berth/store';
import type { CreateRunRequest, RunSpec } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { completeSpec } from './complete-spec.js';
import { ResolveImage } from './resolve-image.js';

/** Everything about a submission that is settled before it meets the quota: defaults filled in, the image's tag turned into a digest. */
@Injectable()
export class PrepareRun {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly resolveImage: ResolveImage,
  ) {}

  /** Throws as `completeSpec` and `ResolveImage` do, and `featureNotAllowed`. */
  async execute(tenant: TenantRow, request: CreateRunRequest): Promise<{ spec: RunSpec; digest: string }> {
    const canReachOut = tenant.features.includes('network:egress') && request.runtimeClass !== 'runsc';
    const spec = completeSpec({ ...request, network: request.network ?? (canReachOut ? 'egress' : 'none') }, this.config, tenant.runLimits);
    if (spec.network === 'egress' && spec.runtimeClass === 'runsc') {
      const message = 'runsc runs without a network: leave it out, or choose another runtimeClass';
      throw new AppError('invalidRequest', `network: ${message}`, { errors: [{ field: 'network', message }] });
    }
    for (const feature of neededFeatures(spec)) {
      if (tenant.features.includes(feature)) continue;
      const message = `this tenant may not use ${feature}; its operator can allow it`;
      const errors = [{ field: fieldOfFeature(feature), message }];
      throw new AppError('featureNotAllowed', `${fieldOfFeature(feature)}: ${message}`, { errors });
    }
    return { spec, digest: await this.resolveImage.execute(tenant, request.image) };
  }
}

/** What the run asks of quota and nodes, as of now. */
export function demandOf(tenant: TenantRow, spec: RunSpec): QuoteInput {
  return {
    tenantId: tenant.id,
    request: { ...spec.resources, attemptMs: spec.timeoutMs + spec.stopGraceMs },
    onQuota: spec.onQuota,
    priority: spec.priority,
    maxAttempts: spec.maxAttempts,
    needs: neededFeatures(spec),
    now: new Date(),
  };
}

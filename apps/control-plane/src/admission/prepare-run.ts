import type { TenantRow } from '@berth/store';
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

  /** Throws as `completeSpec` and `ResolveImage` do. */
  async execute(tenant: TenantRow, request: CreateRunRequest): Promise<{ spec: RunSpec; digest: string }> {
    const spec = completeSpec(request, this.config);
    return { spec, digest: await this.resolveImage.execute(tenant, request.image) };
  }
}

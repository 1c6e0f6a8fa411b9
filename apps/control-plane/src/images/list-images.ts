import { RunStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { ImageCatalog } from './image-catalog.js';
import { type ImageSummary, summarizeImages } from './image-summary.js';

/** A tenant's images in the embedded registry, with what they share and which of them runs need. */
@Injectable()
export class ListImages {
  constructor(
    private readonly catalog: ImageCatalog,
    @Inject(RunStore) private readonly runs: RunStore,
  ) {}

  /** Throws `registryUnavailable`. */
  async execute(tenant: TenantRow): Promise<ImageSummary & { isComplete: boolean }> {
    const [{ images, isComplete }, active] = await Promise.all([this.catalog.list(tenant), this.runs.activeImages(tenant.id)]);
    return { ...summarizeImages(images, active), isComplete };
  }
}

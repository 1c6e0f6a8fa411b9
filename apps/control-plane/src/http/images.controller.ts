import type { Actor, TenantRow } from '@berth/store';
import {
  type DiskUsage,
  diskUsage,
  type ImageDetails,
  imageDetails,
  imageList,
  imageQuery,
  pruneImagesRequest,
  type RemovedImages,
  removedImages,
  removeImageQuery,
} from '@berth/wire';
import { Body, Controller, Delete, Get, Inject, Post, Query } from '@nestjs/common';
import type { z } from 'zod';
import { ResolveImage } from '../admission/resolve-image.js';
import { CONFIG, type Config } from '../config.js';
import { imageDetails as render } from '../images/image-details.js';
import { ListImages } from '../images/list-images.js';
import { ReadDiskUsage } from '../images/read-disk-usage.js';
import { RemoveImages } from '../images/remove-images.js';
import { Api } from './api.js';
import { CallingActor, CallingTenant } from './caller.js';

@Controller('v1')
export class ImagesController {
  constructor(
    private readonly listImages: ListImages,
    private readonly removeImages: RemoveImages,
    private readonly readDiskUsage: ReadDiskUsage,
    private readonly resolveImage: ResolveImage,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Get('images')
  @Api({
    summary: "List the tenant's images in the embedded registry, and what they share",
    key: 'tenant',
    scope: 'images:read',
    status: 200,
    answer: imageList,
    problems: ['registryUnavailable'],
  })
  async list(@CallingTenant() tenant: TenantRow): Promise<z.infer<typeof imageList>> {
    const { items, usage, isComplete } = await this.listImages.execute(tenant);
    return { items: [...items], usage, isComplete };
  }

  @Get('images/details')
  @Api({
    summary: "Look at an image that runs may name: configuration, layers and history, for this service's platform",
    key: 'tenant',
    scope: 'images:read',
    status: 200,
    answer: imageDetails,
    problems: ['invalidImage', 'imageNotFound', 'imageUnauthorized', 'imageUnsupported', 'registryUnavailable'],
  })
  async details(
    @CallingTenant() tenant: TenantRow,
    @Query({ schema: imageQuery }) query: z.infer<typeof imageQuery>,
  ): Promise<ImageDetails> {
    return render(query.image, this.config.platform, await this.resolveImage.describe(tenant, query.image));
  }

  @Delete('images')
  @Api({
    summary: 'Remove a tag, and the image with its last one; by digest, the image with all its tags',
    key: 'tenant',
    scope: 'images:write',
    audited: 'image.remove',
    status: 200,
    answer: removedImages,
    problems: ['invalidImage', 'notFound', 'conflict', 'registryUnavailable'],
  })
  remove(
    @CallingTenant() tenant: TenantRow,
    @CallingActor() by: Actor,
    @Query({ schema: removeImageQuery }) { image, force }: z.infer<typeof removeImageQuery>,
  ): Promise<RemovedImages> {
    return this.removeImages.one(tenant, image, force === 'true', by);
  }

  @Post('images/prune')
  @Api({
    summary: 'Remove the images without a tag, or all that no run needs',
    key: 'tenant',
    scope: 'images:write',
    audited: 'image.remove',
    status: 200,
    answer: removedImages,
    problems: ['unsupportedField', 'registryUnavailable'],
  })
  prune(
    @CallingTenant() tenant: TenantRow,
    @CallingActor() by: Actor,
    @Body({ schema: pruneImagesRequest }) { all, olderThanMs }: z.infer<typeof pruneImagesRequest>,
  ): Promise<RemovedImages> {
    return this.removeImages.unused(tenant, all, new Date(Date.now() - olderThanMs), by);
  }

  @Get('disk-usage')
  @Api({
    summary: 'What the calling tenant occupies',
    key: 'tenant',
    scope: 'quota:read',
    status: 200,
    answer: diskUsage,
    problems: ['registryUnavailable'],
  })
  diskUsage(@CallingTenant() tenant: TenantRow): Promise<DiskUsage> {
    return this.readDiskUsage.execute(tenant);
  }
}

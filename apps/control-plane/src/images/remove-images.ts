import { AppError, embeddedRegistry, parseImageReference } from '@berth/core';
import { type Actor, AuditStore, RunStore, type TenantRow } from '@berth/store';
import type { RemovedImages } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { type CatalogImage, ImageCatalog } from './image-catalog.js';
import { membersOf, nameOf, summarizeImages, topLevel } from './image-summary.js';

/** Removes a tenant's images from the embedded registry. Runs that have not ended keep theirs, unless the caller insists. */
@Injectable()
export class RemoveImages {
  constructor(
    private readonly catalog: ImageCatalog,
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(AuditStore) private readonly audit: AuditStore,
  ) {}

  /**
   * Removes one tag, and the image with its last; or, by digest, the image with all its tags. Throws `notFound`, `conflict` while runs need the image,
   * `invalidImage` for an image of another registry.
   */
  async one(tenant: TenantRow, text: string, force: boolean, by: Actor): Promise<RemovedImages> {
    const { registry, repository, tag, digest } = parse(text);
    const before = await this.look(tenant);
    const wanted = digest ?? tag ?? 'latest';
    const found = before.images.find(
      (image) => image.repository === repository && (digest === undefined ? image.tags.includes(wanted) : image.digest === digest),
    );
    if (registry !== embeddedRegistry || found === undefined)
      throw new AppError('notFound', `you have no image ${text} in ${embeddedRegistry}`);
    const isLast = digest !== undefined || found.tags.length === 1;
    if (isLast && !force && this.isActive(found, before)) {
      throw new AppError('conflict', `runs that have not ended need ${text}: cancel them first, or force it`);
    }
    await this.audit.record(by, { action: 'image.remove', tenantId: tenant.id, target: text });
    if (isLast) return this.delete(tenant, [found], before);
    await this.catalog.remove(tenant, repository, { tag: wanted });
    return { untagged: [`${embeddedRegistry}/${repository}:${wanted}`], deleted: [], freedBytes: 0 };
  }

  /** Removes the images without a tag, or with `all` every image, but for what was pushed since and for those that runs need which have not ended. */
  async unused(tenant: TenantRow, all: boolean, pushedBefore: Date, by: Actor): Promise<RemovedImages> {
    const before = await this.look(tenant);
    const doomed = topLevel(before.images).filter(
      (image) => (all || image.tags.length === 0) && image.pushedAtMs <= pushedBefore.getTime() && !this.isActive(image, before),
    );
    for (const image of doomed) await this.audit.record(by, { action: 'image.remove', tenantId: tenant.id, target: nameOf(image) });
    return this.delete(tenant, doomed, before);
  }

  private async look(tenant: TenantRow): Promise<Look> {
    const [{ images }, active] = await Promise.all([this.catalog.list(tenant), this.runs.activeImages(tenant.id)]);
    return { images, active, byName: new Map(images.map((image) => [nameOf(image), image])) };
  }

  private isActive(image: CatalogImage, { active, byName }: Look): boolean {
    return membersOf(image, byName).some(({ digest }) => active.has(digest));
  }

  private async delete(tenant: TenantRow, doomed: readonly CatalogImage[], { images, active, byName }: Look): Promise<RemovedImages> {
    const deleted: string[] = [];
    const untagged: string[] = [];
    const gone = new Set<string>();
    for (const image of doomed) {
      const isRemoved = await this.catalog.remove(tenant, image.repository, { digest: image.digest });
      gone.add(nameOf(image));
      if (!isRemoved) continue;
      deleted.push(`${embeddedRegistry}/${nameOf(image)}`);
      untagged.push(...image.tags.map((tag) => `${embeddedRegistry}/${image.repository}:${tag}`));
      // An index's members go with it, but for those that have a tag, or another index.
      for (const member of membersOf(image, byName)) {
        const isNamed = images.some(
          (other) => !gone.has(nameOf(other)) && other.repository === member.repository && other.manifests.includes(member.digest),
        );
        if (member === image || member.tags.length > 0 || isNamed || active.has(member.digest)) continue;
        await this.catalog.remove(tenant, member.repository, { digest: member.digest });
        gone.add(nameOf(member));
      }
    }
    const left = images.filter((image) => !gone.has(nameOf(image)));
    const bytesOf = (some: readonly CatalogImage[]) => summarizeImages(some, active).usage.totalBytes;
    return { untagged, deleted, freedBytes: bytesOf(images) - bytesOf(left) };
  }
}

interface Look {
  readonly images: readonly CatalogImage[];
  readonly active: ReadonlyMap<string, number>;
  readonly byName: ReadonlyMap<string, CatalogImage>;
}

function parse(text: string): ReturnType<typeof parseImageReference> {
  try {
    return parseImageReference(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new AppError('invalidImage', error.message, { errors: [{ field: 'image', message: error.message }] });
  }
}

import { AppError, embeddedRegistry, isValidDigest, mintPullToken, type RegistryAction } from '@berth/core';
import { ImageError, RegistryClient } from '@berth/image';
import type { TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { z } from 'zod';
import { registryEndpoint } from '../admission/resolve-image.js';
import { CONFIG, type Config } from '../config.js';

const digest = z.string().refine(isValidDigest);

/** A manifest as the embedded registry lists it (docs/contracts.md). */
const catalogImage = z.object({
  repository: z.string(),
  digest,
  mediaType: z.string(),
  tags: z.array(z.string()),
  sizeBytes: z.int().min(0),
  pushedAtMs: z.int(),
  blobs: z.array(z.object({ digest, sizeBytes: z.int().min(0) })),
  manifests: z.array(digest),
  subject: digest.nullable(),
});
export type CatalogImage = z.infer<typeof catalogImage>;
const catalogPage = z.object({ images: z.array(catalogImage) });

/** A tenant has more manifests than any list can show; the rest is left away and said to be. */
const manifestsMax = 5000;
const pageBytesMax = 8 * 1024 * 1024;

/** What the embedded registry holds of a tenant. Every request carries a token for that tenant alone, for about as long as it takes. */
@Injectable()
export class ImageCatalog {
  constructor(@Inject(CONFIG) private readonly config: Config) {}

  /** Every manifest of the tenant, of all its repositories, up to a bound. Throws `registryUnavailable`. */
  async list(tenant: TenantRow): Promise<{ images: CatalogImage[]; isComplete: boolean }> {
    return this.speak(tenant, ['pull'], async (client, signal) => {
      const images: CatalogImage[] = [];
      let path: string | null = '/v2/_berth/images';
      while (path !== null && images.length < manifestsMax) {
        const page: { bytes: Buffer; next: string | null } = await client.fetchPage(embeddedRegistry, path, pageBytesMax, { signal });
        images.push(...catalogPage.parse(JSON.parse(page.bytes.toString('utf8'))).images);
        path = page.next;
      }
      return { images, isComplete: path === null };
    });
  }

  /** Removes a tag, or a manifest with all its tags. False when it is not there. */
  async remove(tenant: TenantRow, repository: string, reference: { tag: string } | { digest: string }): Promise<boolean> {
    return this.speak(tenant, ['pull', 'delete'], async (client, signal) => {
      try {
        await client.deleteManifest({ registry: embeddedRegistry, repository, ...reference }, { signal });
        return true;
      } catch (error) {
        if (error instanceof ImageError && error.code === 'imageNotFound') return false;
        throw error;
      }
    });
  }

  private async speak<T>(
    tenant: TenantRow,
    actions: readonly RegistryAction[],
    operation: (client: RegistryClient, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { secret, timeoutMs } = this.config.registry;
    const exp = Math.ceil((Date.now() + 2 * timeoutMs) / 1000);
    const client = new RegistryClient({
      resolveRegistry: (registry) => registryEndpoint(this.config.registry, registry),
      authorization: `Bearer ${mintPullToken({ repositories: [], tenant: tenant.name, actions, exp }, secret)}`,
      limits: { metadataDeadlineMs: timeoutMs, headTimeoutMs: timeoutMs, attempts: 2 },
    });
    try {
      return await operation(client, AbortSignal.timeout(timeoutMs));
    } catch (error) {
      if (!(error instanceof ImageError) && (error as Error).name !== 'TimeoutError') throw error;
      throw new AppError('registryUnavailable', 'the embedded registry cannot be reached, or does not answer', {}, { cause: error });
    }
  }
}

import { afterEach, beforeAll, beforeEach } from 'vitest';
import { type BuiltImage, buildImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { ImageError } from '../image-error.js';
import { type ImageReference, RegistryClient, type RegistryClientOptions } from '../registry/registry-client.js';
import { HostileRegistry } from './hostile-registry.js';
import { incompressible } from './incompressible.js';

/** Limits under which a test of misbehaviour ends soon. */
export const quickLimits = {
  metadataDeadlineMs: 5000,
  headTimeoutMs: 500,
  attempts: 3,
  backoffMs: 5,
  floor: { windowMs: 300, minBytes: 1024 },
};

/** Two registries anew for each test, an image in the first of them, and clients for both. */
export class RegistryFixture {
  image!: BuiltImage;
  registry!: HostileRegistry;
  other!: HostileRegistry;

  /** The image's one layer as a descriptor. */
  get layer() {
    const [layer] = this.image.layers;
    if (!layer) throw new Error('the image has no layer');
    return { mediaType: '', ...layer };
  }

  clientOf(options: Partial<RegistryClientOptions> = {}): RegistryClient {
    return new RegistryClient({
      resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }),
      internalOrigins: [this.other.url],
      ...options,
      limits: { ...quickLimits, ...options.limits },
    });
  }

  reference(more: Partial<ImageReference> = { tag: 'latest' }): ImageReference {
    return { registry: this.registry.host, repository: 'team/app', ...more };
  }

  async readLayer(client: RegistryClient): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of client.openBlob(this.reference(), this.layer)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  isLayer(request: { readonly url?: string | undefined }): boolean {
    return request.url?.includes(this.layer.digest) ?? false;
  }
}

/** Starts and stops a fixture around each test of the enclosing block. */
export function useRegistries(): RegistryFixture {
  const fixture = new RegistryFixture();
  beforeAll(async () => {
    const layer = await buildLayer([{ type: 'file', path: 'data', content: incompressible(300_000) }]);
    fixture.image = buildImage({ layers: [layer], config: { Cmd: ['/data'] }, platform: 'linux/amd64' });
  });
  beforeEach(async () => {
    fixture.registry = await HostileRegistry.start();
    fixture.other = await HostileRegistry.start();
    fixture.registry.addImage(fixture.image, 'latest');
  });
  afterEach(async () => {
    await fixture.registry.stop();
    await fixture.other.stop();
  });
  return fixture;
}

/** The code of the ImageError with which an operation fails, or `no error`. Other errors pass. */
export async function codeOf(operation: Promise<unknown>): Promise<string> {
  try {
    await operation;
    return 'no error';
  } catch (error) {
    if (error instanceof ImageError) return error.code;
    throw error;
  }
}

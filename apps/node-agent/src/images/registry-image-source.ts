import { type ContentStore, hostPlatform, ImagePuller, type PulledImage, RegistryClient, type RegistryEndpoint } from '@berth/image';
import { type ImageRequest, ImageSource } from './image-source.js';

/** Where a registry listens, as the control plane names it. */
export interface NamedRegistry {
  readonly host: string;
  readonly url: string;
}

/** What a pull has moved, for the metrics. */
export interface PullCount {
  readonly downloadedBytes: number;
  /** Disk space of the layers that were here. */
  readonly savedBytes: number;
  readonly layersHere: number;
  readonly layersFetched: number;
}

/** Pulls from registries into the node's content store. */
export class RegistryImageSource extends ImageSource {
  readonly #puller: ImagePuller;
  #registries: ReadonlyMap<string, NamedRegistry> = new Map();

  constructor(
    private readonly store: ContentStore,
    private readonly onPull: (count: PullCount) => void,
  ) {
    super();
    this.#puller = new ImagePuller(store);
  }

  /** The registries that the operator named; they may be at internal addresses. */
  nameRegistries(registries: readonly NamedRegistry[]): void {
    this.#registries = new Map(registries.map((registry) => [registry.host, registry]));
  }

  /** A client with a whole Authorization header value, that finds registries where the operator says. */
  client(authorization: string | null): RegistryClient {
    return new RegistryClient({
      resolveRegistry: (registry) => endpointOf(registry, this.#registries),
      authorization: authorization ?? undefined,
    });
  }

  override async pull(request: ImageRequest, signal: AbortSignal): Promise<PulledImage> {
    const before = new Set(this.store.layerIds());
    let downloadedBytes = 0;
    const client = this.client(request.authorization);
    const image = await this.#puller.pull(request, {
      client,
      platform: hostPlatform(),
      signal,
      onProgress: (progress) => {
        downloadedBytes = progress.downloadedBytes;
      },
    });
    const here = image.layers.filter(({ diffId }) => before.has(diffId));
    const savedBytes = here.reduce((sum, { bytes }) => sum + bytes, 0);
    this.onPull({ downloadedBytes, savedBytes, layersHere: here.length, layersFetched: image.layers.length - here.length });
    return image;
  }

  override layers(): readonly string[] {
    const digests = this.store.usage().images.flatMap(({ digest }) => this.store.imageRecord(digest)?.layers ?? []);
    return [...new Set(digests.map(({ digest }) => digest))].sort();
  }
}

/** Where a registry of a reference listens: where the operator says, else by HTTPS at its own name; Docker Hub's API has a host of its own. */
export function endpointOf(registry: string, named: ReadonlyMap<string, NamedRegistry>): RegistryEndpoint {
  const known = named.get(registry);
  if (known !== undefined) return { url: known.url, allowInternal: true };
  if (registry === 'docker.io') {
    return { url: 'https://registry-1.docker.io', allowInternal: false, tokenRealms: ['https://auth.docker.io'] };
  }
  return { url: `https://${registry}`, allowInternal: false };
}

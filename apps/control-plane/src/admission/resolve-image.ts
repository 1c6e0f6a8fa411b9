import { AppError, embeddedRegistry, type ImageReference, mintPullToken, parseImageReference } from '@berth/core';
import { ImageError, type PlatformImage, RegistryClient, type RegistryEndpoint } from '@berth/image';
import { LayerStore, type TenantRow } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { LOGGER, type Logger } from '../logger.js';
import { SingleFlight } from '../single-flight.js';

const runnableMax = 10_000;
/** Questions about one image under way: more than one, so that who comes late need not wait for all of one before his own. */
const questionsAtOnce = 3;
const embeddedClientMs = 5 * 60_000;
const embeddedClientsMax = 1000;

/** An image's manifest and configuration for this service's platform, and what led there: an index, or the manifest itself. */
export interface DescribedImage extends PlatformImage {
  readonly digest: string;
  readonly mediaType: string;
}

/** Resolves the image of a submission once, to the digest that every node will pull. */
@Injectable()
export class ResolveImage {
  /** For registries that need no credential of ours; it keeps their connections. */
  private readonly anonymous: RegistryClient;
  /** Resolutions under way, by tenant and image. */
  private readonly flights = new Map<string, SingleFlight<string>>();
  /** Digests, each within its repository, that were found to have an image for the platform; the oldest first. */
  private readonly runnable = new Set<string>();
  /** Clients of the embedded registry by repository, the oldest first. */
  private readonly embedded = new Map<string, { readonly client: RegistryClient; readonly untilMs: number }>();

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LayerStore) private readonly layers: LayerStore,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.anonymous = this.client();
  }

  /**
   * The digest that `text` names now, for the tenant. Throws `invalidImage`, `tagNotAllowed`, `imageNotFound`, `imageUnauthorized`,
   * `imageUnsupported` or `registryUnavailable`, within the configured time whatever the registry does.
   */
  async execute(tenant: TenantRow, text: string): Promise<string> {
    const reference = this.visible(tenant, text);
    if (tenant.requireDigest && reference.digest === undefined) {
      throw new AppError('tagNotAllowed', 'name the image by digest, as registry/repository@sha256:...');
    }
    const signal = AbortSignal.timeout(this.config.registry.timeoutMs);
    try {
      return await unlessAborted(this.shared(`${tenant.id} ${text}`, reference), signal);
    } catch (error) {
      throw this.refusal(error, reference, text);
    }
  }

  /** What `text` names now, whole, for people to look at. Throws as `execute` does, but never `tagNotAllowed`. */
  async describe(tenant: TenantRow, text: string): Promise<DescribedImage> {
    const reference = this.visible(tenant, text);
    const { timeoutMs } = this.config.registry;
    const signal = AbortSignal.timeout(timeoutMs);
    const client = this.clientFor(reference);
    try {
      const { digest, mediaType } = await client.fetchManifest(reference, { signal });
      const pinned = { registry: reference.registry, repository: reference.repository, digest };
      return { digest, mediaType, ...(await client.fetchImage(pinned, { platform: this.config.platform, signal })) };
    } catch (error) {
      throw this.refusal(error, reference, text);
    }
  }

  private visible(tenant: TenantRow, text: string): ImageReference {
    const reference = parse(text);
    // Another tenant's repository does not exist here.
    if (reference.registry === embeddedRegistry && !reference.repository.startsWith(`${tenant.name}/`)) throw unknownImage(text);
    return reference;
  }

  private clientFor(reference: ImageReference): RegistryClient {
    return reference.registry === embeddedRegistry ? this.embeddedClient(reference) : this.anonymous;
  }

  /**
   * A burst of submissions of one image asks the registry a few times, not hundreds. Each gets what was found after it asked, never the outcome
   * of an older look: a client that moves a tag and then submits gets what it moved the tag to.
   */
  private async shared(key: string, reference: ImageReference): Promise<string> {
    const flight = this.flights.get(key) ?? new SingleFlight(() => this.resolve(reference), questionsAtOnce);
    this.flights.set(key, flight);
    try {
      return await flight.run();
    } finally {
      if (flight.isIdle && this.flights.get(key) === flight) this.flights.delete(key);
    }
  }

  /** What a tag names is asked each time; what is behind a digest never changes, and is asked once. */
  private async resolve(reference: ImageReference): Promise<string> {
    const client = this.clientFor(reference);
    const signal = AbortSignal.timeout(this.config.registry.timeoutMs);
    const { digest } = await client.fetchManifest(reference, { signal });
    const content = `${reference.registry}/${reference.repository}@${digest}`;
    if (this.runnable.has(content)) return digest;
    const { layers } = await client.resolve({ ...reference, digest }, { platform: this.config.platform, signal });
    // Before the run is placed, and no reason to refuse it.
    await this.layers
      .describe(
        digest,
        layers.map((layer) => ({ digest: layer.digest, size: layer.size })),
      )
      .catch((error: unknown) => this.logger.warn({ err: error, digest }, 'layers of an image not stored'));
    if (this.runnable.size >= runnableMax) dropOldest(this.runnable);
    this.runnable.add(content);
    return digest;
  }

  /** A client whose token opens the one repository. It is kept for some minutes, because its connections are what makes a look quick. */
  private embeddedClient({ repository }: ImageReference): RegistryClient {
    const nowMs = Date.now();
    const known = this.embedded.get(repository);
    if (known !== undefined && nowMs < known.untilMs) return known.client;
    this.embedded.delete(repository);
    if (this.embedded.size >= embeddedClientsMax) dropOldest(this.embedded);
    const exp = Math.ceil((nowMs + embeddedClientMs + 2 * this.config.registry.timeoutMs) / 1000);
    const token = mintPullToken({ repositories: [repository], actions: ['pull'], exp }, this.config.registry.secret);
    const client = this.client(`Bearer ${token}`);
    this.embedded.set(repository, { client, untilMs: nowMs + embeddedClientMs });
    return client;
  }

  private client(authorization?: string): RegistryClient {
    const { timeoutMs } = this.config.registry;
    return new RegistryClient({
      resolveRegistry: (registry) => registryEndpoint(this.config.registry, registry),
      authorization,
      limits: { metadataDeadlineMs: timeoutMs, headTimeoutMs: timeoutMs, attempts: 2 },
    });
  }

  private refusal(error: unknown, reference: ImageReference, text: string): unknown {
    if (error instanceof Error && error.name === 'TimeoutError') {
      return new AppError('registryUnavailable', `${reference.registry} did not answer within ${this.config.registry.timeoutMs} ms`);
    }
    if (!(error instanceof ImageError)) return error;
    switch (error.code) {
      case 'imageNotFound':
        return unknownImage(text);
      case 'unauthorized':
        return new AppError('imageUnauthorized', `${reference.registry} refuses access to ${text}`);
      case 'wrongPlatform':
      case 'unsupportedMediaType':
      case 'invalidManifest':
      case 'tooLarge':
      case 'layerRejected':
      case 'digestMismatch':
        return new AppError('imageUnsupported', error.message);
      case 'addressDenied':
        return new AppError('imageUnauthorized', `${reference.registry} leads to an address that images may not come from`);
      case 'registryUnavailable':
      case 'timeout':
        return new AppError('registryUnavailable', `${reference.registry} cannot be reached, or does not answer`, {}, { cause: error });
    }
  }
}

/** Where the registry of a reference listens, and whether its address may be internal: the embedded one and those that the operator names. */
export function registryEndpoint(config: Pick<Config['registry'], 'url' | 'internalOrigins'>, registry: string): RegistryEndpoint {
  if (registry === embeddedRegistry) return { url: config.url, allowInternal: true };
  if (registry === 'docker.io') {
    return { url: 'https://registry-1.docker.io', allowInternal: false, tokenRealms: ['https://auth.docker.io'] };
  }
  const internal = config.internalOrigins.find((origin) => new URL(origin).host === registry);
  return { url: internal ?? `https://${registry}`, allowInternal: internal !== undefined };
}

/** What `promise` comes to, or the signal's reason when that comes first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}

function parse(text: string): ImageReference {
  try {
    return parseImageReference(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new AppError('invalidImage', error.message, { errors: [{ field: 'image', message: error.message }] });
  }
}

function dropOldest(remembered: Pick<Map<string, unknown>, 'keys' | 'delete'> | Set<string>): void {
  const { value } = remembered.keys().next();
  if (value !== undefined) remembered.delete(value);
}

/** The same for a repository that is absent and for one that is another tenant's. */
function unknownImage(text: string): AppError {
  return new AppError('imageNotFound', `the registry has no image ${text}`);
}

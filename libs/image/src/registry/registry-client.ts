import type { Readable } from 'node:stream';
import { digestOf } from '@berth/core';
import { type ImageConfig, parseImageConfig } from '../image-config.js';
import { ImageError } from '../image-error.js';
import type { Platform } from '../platform.js';
import { readBlob } from './blob-stream.js';
import { readBounded } from './bounded-body.js';
import { discardBody, type ExchangeResponse } from './http-exchange.js';
import { chooseForPlatform, type Descriptor, type ImageIndex, type ImageManifest, offeredPlatforms, parseManifest } from './manifest.js';
import { isIndexType, MANIFEST_ACCEPT } from './media-types.js';
import { DEFAULT_REGISTRY_LIMITS, type RegistryLimits } from './registry-limits.js';
import { type RegistryEndpoint, RegistryTransport } from './registry-transport.js';

/** The parts of an image reference that a registry needs; `parseImageReference` of libs/core gives one. */
export interface RepositoryReference {
  /** Host and port, as in the reference; `resolveRegistry` says where it listens. */
  readonly registry: string;
  readonly repository: string;
}

export interface ImageReference extends RepositoryReference {
  readonly tag?: string | undefined;
  /** Wins over the tag. */
  readonly digest?: string | undefined;
}

export interface RegistryClientOptions {
  /** Where the registry of a reference listens, and what the operator grants it. */
  readonly resolveRegistry: (registry: string) => RegistryEndpoint;
  /**
   * A whole Authorization header value (`Basic ...` or `Bearer ...`). It belongs to the registry of the first reference that this client sees; the client
   * refuses to speak to any other.
   */
  readonly authorization?: string | undefined;
  /** Origins besides the registries' own that may be internal, e.g. the object storage to which the embedded registry redirects. */
  readonly internalOrigins?: readonly string[];
  readonly limits?: Partial<RegistryLimits>;
}

/** Options of one operation. Aborting rejects with the signal's reason. */
export interface OperationOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface BlobOptions extends OperationOptions {
  /** Who compares the bytes with the digest; `here` where it is silent. A consumer that does must do it before it believes any of them. */
  readonly hashed?: 'here' | 'byConsumer';
  /** The first byte that is wanted, where the consumer has those before it and compares the digest of all. */
  readonly from?: number;
}

/** A manifest or an index, its bytes verified against its digest. */
export interface FetchedManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly content: ImageManifest | ImageIndex;
}

/** The manifest and the configuration of one platform's image, verified. */
export interface PlatformImage {
  readonly manifest: FetchedManifest & { readonly content: ImageManifest };
  readonly config: ImageConfig;
  readonly configBytes: Buffer;
}

export interface ResolvedImage {
  /** Digest of what the reference names: an index or a manifest. The one to pin. */
  readonly digest: string;
  readonly mediaType: string;
  /** Bytes of the index or manifest. */
  readonly size: number;
  /** Digest of the manifest for the platform; equal to `digest` when that is no index. */
  readonly platformManifestDigest: string;
  /** Compressed bytes of all layers, for placement. */
  readonly layers: readonly Descriptor[];
}

const manifestPath = ({ repository }: RepositoryReference, name: string) => `/v2/${repository}/manifests/${name}`;
const blobPath = ({ repository }: RepositoryReference, digest: string) => `/v2/${repository}/blobs/${digest}`;

/**
 * A client of the OCI distribution API (distribution-spec 1.1), for one credential. Everything that it returns has been verified against a digest, but for
 * what a tag names, which is the registry's word. All operations are bounded in time and bytes and throw `ImageError`.
 */
export class RegistryClient {
  /** Equal for clients with the same credential, and tells nothing of it. */
  readonly identity: string;
  readonly limits: RegistryLimits;
  readonly #options: RegistryClientOptions;
  readonly #transports = new Map<string, RegistryTransport>();

  constructor(options: RegistryClientOptions) {
    this.#options = options;
    this.limits = { ...DEFAULT_REGISTRY_LIMITS, ...options.limits };
    this.identity = digestOf(options.authorization ?? '');
  }

  /** Finds what a reference names now. `imageNotFound` for an unknown one, `wrongPlatform` when it offers no image for the platform. */
  async resolve(reference: ImageReference, options: OperationOptions & { platform: Platform }): Promise<ResolvedImage> {
    return this.#bounded(options.signal, async (signal) => {
      const top = await this.fetchManifest(reference, { signal });
      const image = await this.#platformImage(reference, top, options.platform, signal, 0);
      return {
        digest: top.digest,
        mediaType: top.mediaType,
        size: top.bytes.length,
        platformManifestDigest: image.manifest.digest,
        layers: image.manifest.content.layers,
      };
    });
  }

  /** The manifest and configuration for a platform, by whatever path of indexes leads there. */
  async fetchImage(reference: ImageReference, options: OperationOptions & { platform: Platform }): Promise<PlatformImage> {
    return this.#bounded(options.signal, async (signal) => {
      const top = await this.fetchManifest(reference, { signal });
      return this.#platformImage(reference, top, options.platform, signal, 0);
    });
  }

  /** The manifest or index that a reference names. */
  async fetchManifest(reference: ImageReference, options: OperationOptions = {}): Promise<FetchedManifest> {
    const name = reference.digest ?? reference.tag ?? 'latest';
    return this.#bounded(options.signal, async (signal) => {
      const response = await this.#get(reference, manifestPath(reference, name), { accept: MANIFEST_ACCEPT }, signal);
      const { manifestBytesMax, floor } = this.limits;
      const bytes = await this.#readBody(response, manifestBytesMax, floor.windowMs);
      const digest = digestOf(bytes);
      const claimed = response.headers['docker-content-digest'];
      if (reference.digest !== undefined && digest !== reference.digest)
        throw new ImageError('digestMismatch', `the manifest ${reference.digest} hashes to ${digest}`);
      if (typeof claimed === 'string' && claimed.startsWith('sha256:') && claimed !== digest)
        throw new ImageError('digestMismatch', `the registry calls the manifest ${claimed}, it hashes to ${digest}`);
      const content = parseManifest(bytes, response.headers['content-type'], this.limits);
      return { digest, mediaType: content.mediaType, bytes, content };
    });
  }

  /** Whether this client's credential may read a manifest of the repository: one HEAD request. `unauthorized` is thrown, absence is false. */
  async hasManifest(repository: RepositoryReference, digest: string, options: OperationOptions = {}): Promise<boolean> {
    return this.#exists(repository, manifestPath(repository, digest), { accept: MANIFEST_ACCEPT }, options.signal);
  }

  /** Whether this client's credential may read a blob of the repository: one HEAD request. */
  async hasBlob(repository: RepositoryReference, digest: string, options: OperationOptions = {}): Promise<boolean> {
    return this.#exists(repository, blobPath(repository, digest), {}, options.signal);
  }

  /**
   * Streams a blob and verifies size and digest on the way: the last chunk is followed by `digestMismatch` when they were wrong. A connection that breaks is
   * taken up where it stopped, and a large blob comes by several connections at a time. No request is made before the first chunk is asked for.
   */
  openBlob(repository: RepositoryReference, blob: Descriptor, options: BlobOptions = {}): AsyncGenerator<Buffer> {
    if (blob.size > this.limits.blobBytesMax) throw new ImageError('tooLarge', `${blob.digest} has ${blob.size} bytes`);
    const headers = { accept: '*/*', 'accept-encoding': 'identity' };
    const open = (begin: number, end: number, signal: AbortSignal) => {
      const part = begin > 0 || end < blob.size ? { range: `bytes=${begin}-${end - 1}` } : {};
      return this.#get(repository, blobPath(repository, blob.digest), { ...headers, ...part }, signal);
    };
    return readBlob(open, blob, this.limits, {
      hashes: options.hashed !== 'byConsumer',
      from: options.from ?? 0,
      signal: options.signal,
    });
  }

  /** A whole blob of at most `maxBytes`, verified. */
  async fetchBlob(repository: RepositoryReference, blob: Descriptor, maxBytes: number, options: OperationOptions = {}): Promise<Buffer> {
    if (blob.size > maxBytes) throw new ImageError('tooLarge', `${blob.digest} has ${blob.size} bytes`);
    return this.#bounded(options.signal, async (signal) => {
      const chunks: Buffer[] = [];
      for await (const chunk of this.openBlob(repository, blob, { signal })) chunks.push(chunk);
      return Buffer.concat(chunks);
    });
  }

  /** Uploads a blob unless the repository has it; `open` gives its bytes anew for each try. Returns whether bytes were sent. */
  async pushBlob(
    repository: RepositoryReference,
    blob: Pick<Descriptor, 'digest' | 'size'>,
    open: () => Uint8Array | Readable,
    options: OperationOptions = {},
  ): Promise<boolean> {
    if (await this.#exists(repository, blobPath(repository, blob.digest), {}, options.signal, ['pull', 'push'])) return false;
    const transport = this.#transport(repository.registry);
    const scopes = [`repository:${repository.repository}:pull,push`];
    const started = await transport.send({
      method: 'POST',
      target: `/v2/${repository.repository}/blobs/uploads/`,
      headers: { 'content-length': '0' },
      scopes,
      signal: options.signal,
    });
    await this.#expect(started, [202], `an upload to ${repository.repository}`);
    discardBody(started);
    const upload = new URL(started.headers.location ?? '', started.url);
    upload.searchParams.set('digest', blob.digest);
    const stored = await transport.send({
      method: 'PUT',
      target: transport.urlOf(upload),
      headers: { 'content-length': String(blob.size), 'content-type': 'application/octet-stream' },
      body: open,
      scopes,
      signal: options.signal,
    });
    await this.#expect(stored, [201, 204], blob.digest);
    discardBody(stored);
    return true;
  }

  /** Stores a manifest under a tag, or under its digest alone. Returns its digest. */
  async pushManifest(reference: ImageReference, mediaType: string, bytes: Uint8Array, options: OperationOptions = {}): Promise<string> {
    const digest = digestOf(bytes);
    if (reference.digest !== undefined && reference.digest !== digest)
      throw new ImageError('digestMismatch', `the manifest for ${reference.digest} hashes to ${digest}`);
    return this.#bounded(options.signal, async (signal) => {
      const stored = await this.#transport(reference.registry).send({
        method: 'PUT',
        target: manifestPath(reference, reference.tag ?? digest),
        headers: { 'content-length': String(bytes.length), 'content-type': mediaType },
        body: () => bytes,
        scopes: [`repository:${reference.repository}:pull,push`],
        signal,
      });
      await this.#expect(stored, [201], `the manifest of ${reference.repository}`);
      discardBody(stored);
      return digest;
    });
  }

  /** Removes a tag, or the manifest of a digest with all its tags. `imageNotFound` when there is none, `unauthorized` when it may not go. */
  async deleteManifest(reference: ImageReference, options: OperationOptions = {}): Promise<void> {
    return this.#bounded(options.signal, async (signal) => {
      const response = await this.#transport(reference.registry).send({
        method: 'DELETE',
        target: manifestPath(reference, reference.digest ?? reference.tag ?? 'latest'),
        scopes: [`repository:${reference.repository}:delete`],
        signal,
      });
      await this.#expect(response, [202], `the manifest of ${reference.repository}`);
      discardBody(response);
    });
  }

  /** A document of a registry beside its images, and where the next page of it is (RFC 8288); null after the last. */
  async fetchPage(
    registry: string,
    path: string,
    maxBytes: number,
    options: OperationOptions = {},
  ): Promise<{ bytes: Buffer; next: string | null }> {
    return this.#bounded(options.signal, async (signal) => {
      const response = await this.#transport(registry).send({ method: 'GET', target: path, scopes: [], signal });
      await this.#expect(response, [200], path);
      const bytes = await this.#readBody(response, maxBytes, this.limits.floor.windowMs);
      const next = /^<([^>]+)>; *rel="next"/.exec(String(response.headers.link ?? ''))?.[1] ?? null;
      return { bytes, next };
    });
  }

  async #platformImage(
    reference: RepositoryReference,
    found: FetchedManifest,
    platform: Platform,
    signal: AbortSignal,
    depth: number,
  ): Promise<PlatformImage> {
    const { content } = found;
    if (content.kind === 'manifest') return this.#configured(reference, { ...found, content }, platform, signal);
    if (depth >= this.limits.indexDepthMax) throw new ImageError('invalidManifest', 'the index is nested too deeply');
    const absent = new ImageError('wrongPlatform', `the image is not for ${platform}; it offers: ${offeredPlatforms(content)}`);
    for (const entry of chooseForPlatform(content, platform).slice(0, 4)) {
      const inner = await this.fetchManifest({ ...bare(reference), digest: entry.digest }, { signal });
      if (inner.bytes.length !== entry.size || isIndexType(inner.mediaType) !== isIndexType(entry.mediaType))
        throw new ImageError('invalidManifest', `the index describes ${entry.digest} otherwise than it is`);
      try {
        return await this.#platformImage(reference, inner, platform, signal, depth + 1);
      } catch (error) {
        // An entry that named our platform must keep its word; one that named none may be for another.
        if (entry.platform !== undefined || !(error instanceof ImageError && error.code === 'wrongPlatform')) throw error;
      }
    }
    throw absent;
  }

  async #configured(
    reference: RepositoryReference,
    manifest: PlatformImage['manifest'],
    platform: Platform,
    signal: AbortSignal,
  ): Promise<PlatformImage> {
    const configBytes = await this.fetchBlob(reference, manifest.content.config, this.limits.configBytesMax, { signal });
    const config = parseImageConfig(configBytes);
    const named = `${config.os || 'linux'}/${config.architecture || platform.split('/')[1]}`;
    if (named !== platform) throw new ImageError('wrongPlatform', `the image is for ${named}, not for ${platform}`);
    if (config.diffIds.length !== manifest.content.layers.length)
      throw new ImageError(
        'invalidManifest',
        `the manifest has ${manifest.content.layers.length} layers, its configuration ${config.diffIds.length}`,
      );
    return { manifest, config, configBytes };
  }

  #transport(registry: string): RegistryTransport {
    const known = this.#transports.get(registry);
    if (known) return known;
    if (this.#options.authorization !== undefined && this.#transports.size > 0)
      throw new Error(`this client's credential is for another registry than ${registry}`);
    const transport = new RegistryTransport({
      endpoint: this.#options.resolveRegistry(registry),
      authorization: this.#options.authorization,
      internalOrigins: this.#options.internalOrigins ?? [],
      limits: this.limits,
    });
    this.#transports.set(registry, transport);
    return transport;
  }

  async #get(
    repository: RepositoryReference,
    target: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<ExchangeResponse> {
    const scopes = [`repository:${repository.repository}:pull`];
    const response = await this.#transport(repository.registry).send({ method: 'GET', target, headers, scopes, signal });
    await this.#expect(response, [200, ...('range' in headers ? [206] : [])], target);
    return response;
  }

  async #exists(
    repository: RepositoryReference,
    target: string,
    headers: Record<string, string>,
    outer: AbortSignal | undefined,
    actions: readonly string[] = ['pull'],
  ): Promise<boolean> {
    return this.#bounded(outer, async (signal) => {
      const scopes = [`repository:${repository.repository}:${actions.join(',')}`];
      const response = await this.#transport(repository.registry).send({ method: 'HEAD', target, headers, scopes, signal });
      discardBody(response);
      if (response.status === 404) return false;
      await this.#expect(response, [200], target);
      return true;
    });
  }

  async #readBody(response: ExchangeResponse, maxBytes: number, windowMs: number): Promise<Buffer> {
    try {
      return await readBounded(response.body, response.url.host, maxBytes, { windowMs, minBytes: 1 });
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw new ImageError('registryUnavailable', `${response.url.host} cut its answer`, { cause: error });
    }
  }

  async #expect(response: ExchangeResponse, statuses: readonly number[], what: string): Promise<void> {
    const { status, url } = response;
    if (statuses.includes(status)) return;
    const codes = await this.#readBody(response, 64 * 1024, 5000).then(errorCodes, (): string[] => []);
    const text = `${what}: ${url.host} answered ${status}${codes.length > 0 ? ` ${codes.join(', ')}` : ''}`;
    if (status === 404) throw new ImageError('imageNotFound', text);
    if (status === 401 || status === 403) throw new ImageError('unauthorized', text);
    // The part that is asked for lies within the blob as its descriptor has it.
    if (status === 416) throw new ImageError('digestMismatch', text);
    if (status === 413) throw new ImageError('tooLarge', text);
    if (codes.includes('DIGEST_INVALID')) throw new ImageError('digestMismatch', text);
    if (codes.includes('MANIFEST_INVALID')) throw new ImageError('invalidManifest', text);
    throw new ImageError('registryUnavailable', text);
  }

  /** Runs an operation on metadata under the deadline of all its requests together. */
  async #bounded<T>(outer: AbortSignal | undefined, operation: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = AbortSignal.timeout(this.limits.metadataDeadlineMs);
    try {
      return await operation(outer ? AbortSignal.any([outer, deadline]) : deadline);
    } catch (error) {
      outer?.throwIfAborted();
      if (deadline.aborted && !(error instanceof ImageError))
        throw new ImageError('timeout', `the registry did not finish within ${this.limits.metadataDeadlineMs} ms`, { cause: error });
      throw error;
    }
  }
}

const bare = ({ registry, repository }: RepositoryReference): RepositoryReference => ({ registry, repository });

/** The error codes of a distribution-spec error body, upper-case identifiers only: the rest of the text is the registry's and may say anything. */
function errorCodes(body: Buffer): string[] {
  try {
    const { errors } = JSON.parse(body.toString('utf8')) as { errors?: { code?: unknown }[] };
    return (errors ?? []).flatMap(({ code }) => (typeof code === 'string' && /^[A-Z_]{1,40}$/.test(code) ? [code] : [])).slice(0, 5);
  } catch {
    return [];
  }
}

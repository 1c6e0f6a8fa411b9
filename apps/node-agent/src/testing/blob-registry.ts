import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { digestOf } from '@berth/core';
import type { BuiltImage } from '@berth/image';

/** The reading half of a registry (OCI distribution-spec, "Pull"), in this process, for tests of an agent. */
export class BlobRegistry {
  /** Requests that asked for a blob's bytes. */
  blobRequests = 0;
  /** Asked of every request when set: the whole Authorization header value. */
  authorization: string | undefined;
  /** Answers 503 to everything. */
  broken = false;
  /** Holds back blobs' bytes until it resolves. */
  gate: Promise<void> = Promise.resolve();
  readonly #blobs = new Map<string, Buffer>();
  readonly #manifests = new Map<string, { readonly mediaType: string; readonly bytes: Buffer }>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<BlobRegistry> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const registry = new BlobRegistry(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on('request', async (request, response) => {
      const [status, headers, body] = await registry.answer(request.method ?? '', request.url ?? '', request.headers.authorization);
      response.writeHead(status, { ...headers, 'content-length': body.length }).end(request.method === 'HEAD' ? undefined : body);
    });
    return registry;
  }

  add(image: BuiltImage): string {
    for (const { digest, blob } of image.layers) this.#blobs.set(digest, blob);
    this.#blobs.set(image.configDigest, image.config);
    this.#manifests.set(image.manifestDigest, { mediaType: image.mediaType, bytes: image.manifest });
    return image.manifestDigest;
  }

  /** Adds a manifest or an index as it is. Returns its digest. */
  addManifest(mediaType: string, document: object): string {
    const bytes = Buffer.from(JSON.stringify(document));
    this.#manifests.set(digestOf(bytes), { mediaType, bytes });
    return digestOf(bytes);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(method: string, url: string, authorization: string | undefined): Promise<[number, Record<string, string>, Buffer]> {
    const nothing = Buffer.alloc(0);
    if (this.broken) return [503, {}, nothing];
    if (this.authorization !== undefined && authorization !== this.authorization) {
      return [401, { 'www-authenticate': 'Basic realm="test"' }, nothing];
    }
    const [, kind, digest = ''] = /^\/v2\/.+\/(manifests|blobs)\/([^/]+)$/.exec(url) ?? [];
    if (kind === 'manifests') {
      const found = this.#manifests.get(digest);
      return found ? [200, { 'content-type': found.mediaType, 'docker-content-digest': digest }, found.bytes] : [404, {}, nothing];
    }
    const blob = this.#blobs.get(digest);
    if (kind !== 'blobs' || blob === undefined) return [404, {}, nothing];
    if (method === 'GET') {
      this.blobRequests++;
      await this.gate;
    }
    return [200, { 'content-type': 'application/octet-stream' }, blob];
  }
}

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { digestOf } from '@berth/core';
import type { BuiltImage } from '../build/build-image.js';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/** Answers a request itself and returns true, or leaves it to the registry's honest part. */
export type Interception = (request: IncomingMessage, response: ServerResponse) => boolean;

/**
 * A registry for tests of misbehaviour: serves what it is given as the distribution API says, but for what `intercept` answers. Listens on a
 * free port of loopback and remembers what it was asked.
 */
export class HostileRegistry {
  readonly seen: SeenRequest[] = [];
  intercept: Interception = () => false;
  readonly #blobs = new Map<string, Buffer>();
  readonly #manifests = new Map<string, { bytes: Buffer; mediaType: string }>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? '';
      this.seen.push({ method: request.method ?? '', path, headers: request.headers });
      response.on('error', () => {});
      if (!this.intercept(request, response)) this.serve(request, response);
    });
  }

  static async start(): Promise<HostileRegistry> {
    const registry = new HostileRegistry();
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Host and port, usable as the registry of a reference. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  get url(): string {
    return `http://${this.host}`;
  }

  /** Back to honesty, nothing seen; what it holds stays. */
  reset(): void {
    this.seen.length = 0;
    this.intercept = () => false;
  }

  addBlob(bytes: Buffer, digest = digestOf(bytes) as string): string {
    this.#blobs.set(digest, bytes);
    return digest;
  }

  addManifest(bytes: Buffer, mediaType: string, tag?: string): string {
    const digest = digestOf(bytes);
    this.#manifests.set(digest, { bytes, mediaType });
    if (tag !== undefined) this.#manifests.set(tag, { bytes, mediaType });
    return digest;
  }

  addImage(image: BuiltImage, tag?: string): string {
    for (const layer of image.layers) this.addBlob(layer.blob);
    this.addBlob(image.config);
    return this.addManifest(image.manifest, image.mediaType, tag);
  }

  count(method: string, pattern: RegExp): number {
    return this.seen.filter((request) => request.method === method && pattern.test(request.path)).length;
  }

  /** The honest answer to GET and HEAD. */
  serve(request: IncomingMessage, response: ServerResponse): void {
    const [, kind, name] = /\/(manifests|blobs)\/([^/?]+)$/.exec(request.url ?? '') ?? [];
    const manifest = kind === 'manifests' ? this.#manifests.get(name ?? '') : undefined;
    const bytes = manifest?.bytes ?? (kind === 'blobs' ? this.#blobs.get(name ?? '') : undefined);
    if (!bytes) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"errors":[{"code":"NAME_UNKNOWN"}]}');
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [from, to] = [Number(range?.[1] ?? 0), Math.min(Number(range?.[2] ?? bytes.length - 1), bytes.length - 1)];
    const body = bytes.subarray(from, to + 1);
    response.writeHead(range ? 206 : 200, {
      'content-type': manifest?.mediaType ?? 'application/octet-stream',
      'content-length': body.length,
      ...(range ? { 'content-range': `bytes ${from}-${to}/${bytes.length}` } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }
}

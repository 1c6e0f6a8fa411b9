import { type Digest, digestOf } from '@berth/core';

export const imageType = 'application/vnd.oci.image.manifest.v1+json';
export const indexType = 'application/vnd.oci.image.index.v1+json';
export const emptyDigest = digestOf('');

export interface PushedManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly response: Response;
}

/** Sends single requests of the distribution API, as any client may, so that tests say exactly what goes over the wire. */
export class RegistryClient {
  constructor(
    readonly url: string,
    private readonly authorization: string | null,
  ) {}

  send(
    method: string,
    path: string,
    init: { headers?: Record<string, string>; body?: Uint8Array | string | ReadableStream } = {},
  ): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.authorization !== null) headers.set('authorization', this.authorization);
    const streams = init.body instanceof ReadableStream ? { duplex: 'half' } : {};
    const request = { method, headers, body: init.body ?? null, redirect: 'manual', ...streams } as RequestInit;
    return fetch(new URL(path, this.url), request);
  }

  async begin(repository: string): Promise<string> {
    const response = await this.send('POST', `/v2/${repository}/blobs/uploads/`);
    if (response.status !== 202) throw new Error(`upload answered ${response.status}: ${await response.text()}`);
    return response.headers.get('location') ?? '';
  }

  /** POST, then PUT with everything. */
  async putBlob(repository: string, bytes: Uint8Array, digest: string = digestOf(bytes)): Promise<Response> {
    const location = await this.begin(repository);
    return this.send('PUT', `${location}?digest=${digest}`, { body: bytes, headers: { 'content-type': 'application/octet-stream' } });
  }

  async pushBlob(repository: string, bytes: Uint8Array | string): Promise<Digest> {
    const content = Buffer.from(bytes);
    const response = await this.putBlob(repository, content);
    if (response.status !== 201) throw new Error(`blob answered ${response.status}: ${await response.text()}`);
    return digestOf(content);
  }

  async putManifest(repository: string, reference: string, manifest: unknown, contentType: string = imageType): Promise<PushedManifest> {
    const bytes = Buffer.from(JSON.stringify(manifest));
    const digest = digestOf(bytes);
    const response = await this.send('PUT', `/v2/${repository}/manifests/${reference === '' ? digest : reference}`, {
      body: bytes,
      headers: { 'content-type': contentType },
    });
    return { digest, bytes, response };
  }

  /** Pushes an image of one layer. */
  async pushImage(
    repository: string,
    reference: string,
    content: string,
    more: Record<string, unknown> = {},
  ): Promise<PushedManifest & { layer: Digest; config: Digest }> {
    const layer = await this.pushBlob(repository, content);
    const config = await this.pushBlob(repository, `{"of":${JSON.stringify(content)}}`);
    const manifest = imageOf(`{"of":${JSON.stringify(content)}}`, [content], more);
    const pushed = await this.putManifest(repository, reference, manifest);
    if (pushed.response.status !== 201) throw new Error(`manifest answered ${pushed.response.status}: ${await pushed.response.text()}`);
    return { ...pushed, layer, config };
  }

  status(method: string, path: string): Promise<number> {
    return this.send(method, path).then(async (response) => {
      await response.arrayBuffer();
      return response.status;
    });
  }
}

/** An image manifest over these bytes, which need not be pushed. */
export function imageOf(config: string, layers: readonly string[], more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    schemaVersion: 2,
    mediaType: imageType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(config), size: Buffer.byteLength(config) },
    layers: layers.map((layer) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      digest: digestOf(layer),
      size: Buffer.byteLength(layer),
    })),
    ...more,
  };
}

/** The specification's code of a refusal. */
export async function errorCode(response: Response): Promise<string> {
  const body = (await response.json()) as { errors: { code: string; message: string }[] };
  return body.errors[0]?.code ?? 'none';
}

import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { TAR_END, tarHeader, tarPadding } from '../build/tar-writer.js';
import { ImageError } from '../image-error.js';
import { hostPlatform } from '../platform.js';
import { chooseForPlatform, type Descriptor, type ImageManifest } from '../registry/manifest.js';
import type { FetchedManifest, ImageReference, OperationOptions, RegistryClient } from '../registry/registry-client.js';
import { blobName } from './image-archive.js';

export interface ExportOptions extends OperationOptions {
  /** As others should know it, e.g. `registry.berth/acme/app:v1`. */
  readonly name: string;
  readonly onBlob?: ((bytes: number) => void) | undefined;
}

const INDEX_DEPTH_MAX = 2;

/**
 * Writes an image into a tar file that is both an OCI layout and what `docker load` reads, as Docker's own since version 25: each byte as the registry has
 * it, digests verified on the way. An index comes with all its platforms; for `docker load` this machine's is named. The file appears under its name when it is whole. Equal images give equal files. Returns the
 * digest of what the reference names.
 */
export async function exportImage(
  client: RegistryClient,
  reference: ImageReference,
  path: string,
  options: ExportOptions,
): Promise<string> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.partial`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    const digest = await new Exporter(client, reference, file, options).run();
    await file.chmod(0o644);
    await file.close();
    await rename(temporary, path);
    return digest;
  } catch (error) {
    await file.close().catch(() => {});
    await rm(temporary, { force: true });
    throw error;
  }
}

class Exporter {
  private readonly written = new Set<string>();

  constructor(
    private readonly client: RegistryClient,
    private readonly reference: ImageReference,
    private readonly file: FileHandle,
    private readonly options: ExportOptions,
  ) {}

  async run(): Promise<string> {
    const top = await this.client.fetchManifest(this.reference, this.options);
    await this.document('oci-layout', { imageLayoutVersion: '1.0.0' });
    const images = await this.manifest(top, 0);
    const { name } = this.options;
    const tag = this.reference.tag ?? 'latest';
    const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': tag };
    const { mediaType, digest, bytes } = top;
    await this.document('index.json', {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ mediaType, digest, size: bytes.length, annotations }],
    });
    const chosen = top.content.kind === 'index' ? chooseForPlatform(top.content, hostPlatform())[0]?.digest : digest;
    const image = images.get(chosen ?? '');
    if (image !== undefined) {
      const layers = image.layers.map((layer) => blobName(layer.digest));
      await this.document('manifest.json', [{ Config: blobName(image.config.digest), RepoTags: [name], Layers: layers }]);
    }
    await this.file.write(TAR_END);
    return digest;
  }

  /** Writes a manifest with all that it names; returns the images among them. */
  private async manifest({ digest, bytes, content }: FetchedManifest, depth: number): Promise<ReadonlyMap<string, ImageManifest>> {
    if (!this.written.has(digest)) await this.entry(blobName(digest), bytes.length, [bytes]);
    this.written.add(digest);
    if (content.kind === 'manifest') {
      for (const blob of [content.config, ...content.layers]) await this.blob(blob);
      return new Map([[digest, content]]);
    }
    if (depth >= INDEX_DEPTH_MAX) throw new ImageError('invalidManifest', 'the index is nested too deeply');
    const found = new Map<string, ImageManifest>();
    const { registry, repository } = this.reference;
    for (const entry of content.manifests) {
      const inner = await this.client.fetchManifest({ registry, repository, digest: entry.digest }, this.options);
      for (const [name, image] of await this.manifest(inner, depth + 1)) found.set(name, image);
    }
    return found;
  }

  private async blob(blob: Descriptor): Promise<void> {
    if (this.written.has(blob.digest)) return;
    this.written.add(blob.digest);
    await this.entry(blobName(blob.digest), blob.size, this.client.openBlob(this.reference, blob, this.options));
    this.options.onBlob?.(blob.size);
  }

  private async document(name: string, content: unknown): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(content));
    await this.entry(name, bytes.length, [bytes]);
  }

  private async entry(path: string, size: number, chunks: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void> {
    await this.file.write(tarHeader({ path, type: 'file', mode: 0o644, uid: 0, gid: 0, size, mtime: 0 }));
    for await (const chunk of chunks) await writeAll(this.file, chunk);
    await this.file.write(tarPadding(size));
  }
}

/** A write may take less than it was given. */
async function writeAll(file: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
}

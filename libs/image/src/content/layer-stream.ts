import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { ImageError } from '../image-error.js';
import { type LayerCompression, layerCompression } from '../registry/media-types.js';

const CHUNK_BYTES = 256 * 1024;

// Absent before Node.js 22.15.
const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: { chunkSize: number }) => Transform };

function decompressor(mediaType: string): Transform {
  const compression: LayerCompression | undefined = layerCompression(mediaType);
  switch (compression) {
    case 'none':
      return new PassThrough({ highWaterMark: CHUNK_BYTES });
    case 'gzip':
      return zlib.createGunzip({ chunkSize: CHUNK_BYTES });
    case 'zstd':
      if (createZstdDecompress) return createZstdDecompress({ chunkSize: CHUNK_BYTES });
      throw new ImageError('unsupportedMediaType', 'layers compressed with zstd need Node.js 22.15 or later on the node');
    case undefined:
      throw new ImageError('unsupportedMediaType', `layers of type ${mediaType} cannot be read here`);
  }
}

/** Counts and hashes what passes, and stops at more than `bytesMax`. */
class DiffMeter extends Transform {
  bytes = 0;
  readonly #hash = createHash('sha256');

  constructor(readonly bytesMax: number) {
    super({ highWaterMark: CHUNK_BYTES });
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: (error: Error | null, chunk?: Buffer) => void): void {
    this.bytes += chunk.length;
    this.#hash.update(chunk);
    if (this.bytes > this.bytesMax) callback(new ImageError('tooLarge', `a layer unpacks to more than ${this.bytesMax} bytes`));
    else callback(null, chunk);
  }

  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}

const isZlibError = (error: unknown): boolean => /^(Z_|ZSTD_)/.test(String((error as NodeJS.ErrnoException)?.code ?? ''));

/** Takes the blob's bytes to `head` as fast as it accepts them. Returns their number, or undefined when `head` would not have them all. */
async function feed(
  blob: AsyncIterable<Buffer>,
  head: Transform,
  settled: () => boolean,
  downstream: Promise<unknown>,
): Promise<number | undefined> {
  let bytes: number | undefined = 0;
  for await (const chunk of blob) {
    // Once the layer has failed the blob is still read to its end: only all of it tells whether the registry or the image is to blame.
    if (bytes === undefined || settled()) {
      bytes = undefined;
      continue;
    }
    bytes += chunk.length;
    if (!head.write(chunk)) await Promise.race([once(head, 'drain').catch(() => {}), downstream.catch(() => {})]);
  }
  if (settled()) return undefined;
  head.end();
  return bytes;
}

/** Bytes that a decompressor took in; less than it was given when its format ended before. */
const consumedBytes = (head: Transform): number | undefined => (head as Transform & { bytesWritten?: number }).bytesWritten;

/**
 * One pass over a layer's blob: decompresses it into `sink` and compares the archive with its diff id. The blob verifies itself (`RegistryClient.openBlob`), and its
 * verdict goes before any other. Returns the archive's length. The sink has seen unverified bytes when this throws.
 *
 * Throws `digestMismatch`, `layerRejected` (not what its media type says), `tooLarge`, `unsupportedMediaType`, or what blob or sink throw.
 */
export async function decompressLayer(
  blob: AsyncIterable<Buffer>,
  layer: { readonly mediaType: string; readonly diffId: string },
  sink: Writable,
  archiveBytesMax: number,
): Promise<number> {
  const head = decompressor(layer.mediaType);
  const meter = new DiffMeter(archiveBytesMax);
  let settled = false;
  const downstream = pipeline(head, meter, sink).finally(() => {
    settled = true;
  });
  downstream.catch(() => {});
  try {
    const fed = await feed(blob, head, () => settled, downstream);
    await downstream;
    if (fed === undefined || (consumedBytes(head) ?? fed) !== fed) throw new ImageError('layerRejected', 'a layer has bytes after its end');
  } catch (error) {
    head.destroy();
    await downstream.catch(() => {});
    if (isZlibError(error))
      throw new ImageError('layerRejected', `a layer is not compressed as its media type says: ${(error as Error).message}`, {
        cause: error,
      });
    throw error;
  }
  const digest = meter.digest();
  if (digest !== layer.diffId)
    throw new ImageError('digestMismatch', `a layer unpacks to ${digest}, the configuration says ${layer.diffId}`);
  return meter.bytes;
}

/** A sink that keeps nothing. */
export const discardingSink = (): Writable => new Writable({ highWaterMark: CHUNK_BYTES, write: (_chunk, _encoding, done) => done() });

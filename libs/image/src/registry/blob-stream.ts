import { createHash } from 'node:crypto';
import { ImageError } from '../image-error.js';
import { watchTransfer } from './bounded-body.js';
import { discardBody, type ExchangeResponse } from './http-exchange.js';
import type { Descriptor } from './manifest.js';
import type { RegistryLimits } from './registry-limits.js';

/** Asks for a blob's bytes from an offset on; the answer is 200 (all of it), 206 (from the offset) or an error already thrown. */
export type OpenBlobAt = (offset: number) => Promise<ExchangeResponse>;

const mismatch = (what: string) => new ImageError('digestMismatch', what);

/** Refuses an answer whose own headers contradict the descriptor; returns the offset at which its bytes begin. */
function startOf(response: ExchangeResponse, blob: Descriptor, wanted: number): number {
  const length = response.headers['content-length'];
  if (response.status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
    if (range && Number(range[1]) === wanted && Number(range[2]) === blob.size - 1) return wanted;
    throw mismatch(`${blob.digest}: the registry answered another range than was asked for`);
  }
  if (length !== undefined && Number(length) !== blob.size)
    throw mismatch(`${blob.digest} has ${length} bytes in the registry, ${blob.size} in the manifest`);
  return 0;
}

/**
 * The bytes of a blob, as long as its descriptor says and no longer. A transfer that is cut goes on where it stopped, as long as it gets
 * anywhere. At the end the digest is compared: a consumer that was given every byte without an error has the right ones, and until then must treat
 * them as hostile. Without `hashes` it is the consumer who compares. Throws `digestMismatch`, `registryUnavailable`, `timeout`, or what `open` throws.
 */
export async function* readBlob(open: OpenBlobAt, blob: Descriptor, limits: RegistryLimits, hashes = true): AsyncGenerator<Buffer> {
  const hash = hashes ? createHash('sha256') : undefined;
  let offset = 0;
  let fruitless = 0;
  while (offset < blob.size || offset === 0) {
    const response = await open(offset);
    const before = offset;
    try {
      let skip = offset - startOf(response, blob, offset);
      for await (const received of watchTransfer(response.body, response.url.host, limits.floor)) {
        const chunk = skip > 0 ? received.subarray(skip) : received;
        skip -= received.length - chunk.length;
        if (offset + chunk.length > blob.size) throw mismatch(`${blob.digest} is longer than its ${blob.size} bytes`);
        hash?.update(chunk);
        offset += chunk.length;
        if (chunk.length > 0) yield chunk;
      }
      if (offset < blob.size) throw mismatch(`${blob.digest} ends after ${offset} of ${blob.size} bytes`);
      break;
    } catch (error) {
      discardBody(response);
      if (error instanceof ImageError) throw error;
      // What is left is the connection's: reset, or closed in the middle of the body.
      fruitless = offset - before >= limits.floor.minBytes ? 0 : fruitless + 1;
      if (fruitless >= limits.attempts)
        throw new ImageError('registryUnavailable', `${response.url.host} cut the transfer of ${blob.digest}`, { cause: error });
    }
  }
  const digest = hash ? `sha256:${hash.digest('hex')}` : blob.digest;
  if (digest !== blob.digest) throw mismatch(`the bytes of ${blob.digest} hash to ${digest}`);
}

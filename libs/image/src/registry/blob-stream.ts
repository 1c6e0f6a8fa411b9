import { createHash } from 'node:crypto';
import { ImageError } from '../image-error.js';
import { watchTransfer } from './bounded-body.js';
import { discardBody, type ExchangeResponse } from './http-exchange.js';
import type { Descriptor } from './manifest.js';
import type { RegistryLimits } from './registry-limits.js';

/**
 * Asks for a blob's bytes from `begin` on, up to but without `end`; the answer is 200 (the whole blob), 206 (what was asked for) or an error already thrown. The
 * signal ends the transfer.
 */
export type OpenBlobAt = (begin: number, end: number, signal: AbortSignal) => Promise<ExchangeResponse>;

interface Transfer {
  readonly open: OpenBlobAt;
  readonly blob: Descriptor;
  readonly limits: RegistryLimits;
  readonly signal: AbortSignal;
}

const mismatch = (what: string) => new ImageError('digestMismatch', what);

/** Refuses an answer whose own headers contradict the descriptor; returns the offset at which its bytes begin. */
function startOf(response: ExchangeResponse, blob: Descriptor, begin: number, end: number): number {
  const length = response.headers['content-length'];
  if (response.status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
    if (range && Number(range[1]) === begin && Number(range[2]) === end - 1) return begin;
    throw mismatch(`${blob.digest}: the registry answered another range than was asked for`);
  }
  if (length !== undefined && Number(length) !== blob.size)
    throw mismatch(`${blob.digest} has ${length} bytes in the registry, ${blob.size} in the manifest`);
  return 0;
}

/** The bytes of a part of a blob. A transfer that is cut goes on where it stopped, as long as it gets anywhere. */
async function* readPart(
  { open, blob, limits, signal }: Transfer,
  begin: number,
  end: number,
  first?: ExchangeResponse,
): AsyncGenerator<Buffer> {
  let offset = begin;
  let fruitless = 0;
  for (let response = first; offset < end || offset === begin; response = undefined) {
    response ??= await open(offset, end, signal);
    const before = offset;
    try {
      let skip = offset - startOf(response, blob, offset, end);
      for await (const received of watchTransfer(response.body, response.url.host, limits.floor)) {
        let chunk = skip > 0 ? received.subarray(skip) : received;
        skip -= received.length - chunk.length;
        // A registry that knows no ranges sends on beyond the part.
        if (response.status === 200 && end < blob.size) chunk = chunk.subarray(0, end - offset);
        if (offset + chunk.length > end) throw mismatch(`${blob.digest} is longer than its ${blob.size} bytes`);
        offset += chunk.length;
        if (chunk.length > 0) yield chunk;
        if (response.status === 200 && offset === end && end < blob.size) break;
      }
      if (offset < end) throw mismatch(`${blob.digest} ends after ${offset} of ${blob.size} bytes`);
      break;
    } catch (error) {
      discardBody(response);
      signal.throwIfAborted();
      if (error instanceof ImageError) throw error;
      // What is left is the connection's: reset, or closed in the middle of the body.
      fruitless = offset - before >= limits.floor.minBytes ? 0 : fruitless + 1;
      if (fruitless >= limits.attempts)
        throw new ImageError('registryUnavailable', `${response.url.host} cut the transfer of ${blob.digest}`, { cause: error });
    }
  }
}

/** Takes chunks as fast as they come, to be had in order later. Holds no more than the part that it reads. */
class ReadAhead {
  readonly #chunks: Buffer[] = [];
  #ended: { error?: unknown } | undefined;
  #wake = () => {};

  constructor(source: AsyncIterable<Buffer>) {
    void (async () => {
      try {
        for await (const chunk of source) {
          this.#chunks.push(chunk);
          this.#wake();
        }
        this.#ended = {};
      } catch (error) {
        this.#ended = { error };
      }
      this.#wake();
    })();
  }

  async *chunks(): AsyncGenerator<Buffer> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) yield chunk;
      else if (this.#ended && 'error' in this.#ended) throw this.#ended.error;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

/**
 * A large blob by several requests at a time, its bytes in order. At most `rangesAtOnce` parts are under way or waiting in memory. A registry that answers
 * the first range with the whole blob is read by that one answer.
 */
async function* readInRanges(transfer: Transfer, from: number): AsyncGenerator<Buffer> {
  const { open, blob, limits, signal } = transfer;
  const { rangeBytes, rangesAtOnce } = limits;
  const first = await open(from, from + rangeBytes, signal);
  if (first.status === 200) {
    yield* readPart(transfer, from, blob.size, first);
    return;
  }
  const parts = [new ReadAhead(readPart(transfer, from, from + rangeBytes, first))];
  for (let begin = from + rangeBytes; parts.length > 0; parts.shift()) {
    for (; parts.length < rangesAtOnce && begin < blob.size; begin += rangeBytes)
      parts.push(new ReadAhead(readPart(transfer, begin, Math.min(begin + rangeBytes, blob.size))));
    yield* (parts[0] as ReadAhead).chunks();
  }
}

export interface ReadBlobOptions {
  /** Whether the digest is compared here. */
  readonly hashes?: boolean;
  /** Where to begin; only without `hashes`. */
  readonly from?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The bytes of a blob, as long as its descriptor says and no longer. At the end the digest is compared: a consumer that was given every byte
 * without an error has the right ones, and until then must treat them as hostile. Without `hashes` it is the consumer who compares.
 * Throws `digestMismatch`, `registryUnavailable`, `timeout`, or what `open` throws.
 */
export async function* readBlob(
  open: OpenBlobAt,
  blob: Descriptor,
  limits: RegistryLimits,
  { hashes = true, from = 0, signal }: ReadBlobOptions = {},
): AsyncGenerator<Buffer> {
  const leaving = new AbortController();
  const transfer = { open, blob, limits, signal: signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal };
  const hash = hashes ? createHash('sha256') : undefined;
  try {
    const inRanges = limits.rangesAtOnce > 1 && blob.size - from >= 2 * limits.rangeBytes;
    for await (const chunk of inRanges ? readInRanges(transfer, from) : readPart(transfer, from, blob.size)) {
      hash?.update(chunk);
      yield chunk;
    }
  } finally {
    // Parts that were read ahead for a consumer that wants no more.
    leaving.abort(new DOMException('nobody wants the rest', 'AbortError'));
  }
  const digest = hash ? `sha256:${hash.digest('hex')}` : blob.digest;
  if (digest !== blob.digest) throw mismatch(`the bytes of ${blob.digest} hash to ${digest}`);
}

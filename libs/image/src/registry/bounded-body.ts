import type { Readable } from 'node:stream';
import { ImageError } from '../image-error.js';

/** The slowest transfer that is still borne: at least `minBytes` in every `windowMs` of waiting. */
export interface TransferFloor {
  readonly windowMs: number;
  readonly minBytes: number;
}

/**
 * Passes a body's chunks on and destroys it with `timeout` once it falls below the floor, so that a peer that sends a byte now and then cannot
 * hold a transfer open for ever. Only time spent waiting for the peer counts, not the consumer's own.
 */
export async function* watchTransfer(body: Readable, peer: string, floor: TransferFloor): AsyncGenerator<Buffer> {
  let windowBytes = 0;
  let waitedMs = 0;
  let waitingSince: number | undefined = performance.now();
  const timer = setInterval(
    () => {
      const pendingMs = waitingSince === undefined ? 0 : performance.now() - waitingSince;
      if (waitedMs + pendingMs < floor.windowMs) return;
      if (windowBytes < floor.minBytes)
        body.destroy(new ImageError('timeout', `${peer} sent ${windowBytes} bytes in ${Math.round(waitedMs + pendingMs)} ms`));
      windowBytes = 0;
      waitedMs = -pendingMs;
    },
    Math.max(1, floor.windowMs / 4),
  );
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      waitedMs += performance.now() - waitingSince;
      waitingSince = undefined;
      windowBytes += chunk.length;
      yield chunk;
      waitingSince = performance.now();
    }
  } finally {
    clearInterval(timer);
    body.destroy();
  }
}

/** Reads a whole body of at most `maxBytes`. Throws `tooLarge`, `timeout`, or what the stream throws. */
export async function readBounded(body: Readable, peer: string, maxBytes: number, floor: TransferFloor): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of watchTransfer(body, peer, floor)) {
    length += chunk.length;
    if (length > maxBytes) throw new ImageError('tooLarge', `${peer} sent more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

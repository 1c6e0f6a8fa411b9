import type { TransferFloor } from './bounded-body.js';

/** How much of a registry's time and bytes Berth bears. */
export interface RegistryLimits {
  /** Whole time of one operation on metadata (`resolve`, a manifest, a HEAD), retries, redirects and tokens included. */
  readonly metadataDeadlineMs: number;
  /** From a request's first byte to its answer's head, connecting included. */
  readonly headTimeoutMs: number;
  /** Tries of one request, the first included, where the registry answers 429 or 5xx or the connection fails. */
  readonly attempts: number;
  /** First pause between tries; it doubles, with jitter. */
  readonly backoffMs: number;
  /** A Retry-After beyond this ends the tries at once. */
  readonly retryAfterMaxMs: number;
  readonly redirectsMax: number;
  readonly floor: TransferFloor;
  /** A blob of at least twice as much is asked for in parts of so many bytes, */
  readonly rangeBytes: number;
  /** so many of them at a time; 1: every blob in one piece. A download holds as many parts in memory at most. */
  readonly rangesAtOnce: number;
  readonly manifestBytesMax: number;
  readonly configBytesMax: number;
  readonly blobBytesMax: number;
  readonly layersMax: number;
  /** Indexes within indexes. */
  readonly indexDepthMax: number;
}

export const DEFAULT_REGISTRY_LIMITS: RegistryLimits = {
  metadataDeadlineMs: 30_000,
  headTimeoutMs: 15_000,
  attempts: 4,
  backoffMs: 250,
  retryAfterMaxMs: 10_000,
  redirectsMax: 5,
  floor: { windowMs: 30_000, minBytes: 32 * 1024 },
  rangeBytes: 4 * 1024 * 1024,
  rangesAtOnce: 3,
  manifestBytesMax: 4 * 1024 * 1024,
  configBytesMax: 4 * 1024 * 1024,
  blobBytesMax: 32 * 1024 ** 3,
  layersMax: 400,
  indexDepthMax: 2,
};

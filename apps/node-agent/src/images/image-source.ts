import type { RunFailure } from '@berth/core';
import { ImageError, type ImageErrorCode, isTransient, type PulledImage } from '@berth/image';
import { AttemptFailure } from '../attempts/attempt-failure.js';

/** An image as an attempt asks for it. */
export interface ImageRequest {
  /** `registry/repository` as submitted. */
  readonly reference: string;
  readonly digest: string;
  /** Whole Authorization header value; null for an anonymous pull. */
  readonly authorization: string | null;
}

/** Brings images onto this machine, verified. */
export abstract class ImageSource {
  /** Throws ImageError, or the signal's reason. */
  abstract pull(request: ImageRequest, signal: AbortSignal): Promise<PulledImage>;

  /** Blob digests of the layers on this machine. */
  abstract layers(): readonly string[];
}

/** Who is to blame for each kind of failed pull. */
const blames: Readonly<Record<ImageErrorCode, RunFailure['blame']>> = {
  registryUnavailable: 'platform',
  timeout: 'platform',
  imageNotFound: 'user',
  unauthorized: 'user',
  digestMismatch: 'user',
  wrongPlatform: 'user',
  invalidManifest: 'user',
  unsupportedMediaType: 'user',
  addressDenied: 'user',
  tooLarge: 'user',
  layerRejected: 'user',
};

/** What a failed pull means for the attempt; an error that is not the image library's is the node's own. */
export function pullFailure(error: unknown): AttemptFailure {
  if (error instanceof ImageError) {
    const failure: RunFailure = { code: 'imagePullFailed', message: error.message, blame: blames[error.code] };
    return new AttemptFailure(failure, isTransient(error) || error.code === 'digestMismatch', { cause: error });
  }
  const failure: RunFailure = { code: 'imagePullFailed', message: 'the node could not store the image', blame: 'platform' };
  return new AttemptFailure(failure, true, { cause: error });
}

/**
 * What can go wrong between a reference and a mounted root filesystem. Closed: a new code is a change of this library's contract.
 *
 * - `registryUnavailable`  the registry could not be reached, or answered 5xx or 429 to the end of the retries
 * - `imageNotFound`        the registry knows no such repository, tag, manifest or blob
 * - `unauthorized`         the registry wants credentials, or refuses those given
 * - `digestMismatch`       bytes differ from their digest or their announced size
 * - `wrongPlatform`        the image exists, for other platforms only
 * - `invalidManifest`      a manifest, index or configuration that is malformed or ambiguous
 * - `unsupportedMediaType` a well-formed kind of image or layer that Berth does not read
 * - `addressDenied`        a host, redirect or token realm leads to an internal address, or to plain HTTP from HTTPS
 * - `tooLarge`             a limit on bytes, entries or layers was passed
 * - `layerRejected`        a layer's archive is malformed or hostile
 * - `timeout`              the registry was silent, or slower than the floor, for too long
 */
export type ImageErrorCode =
  | 'registryUnavailable'
  | 'imageNotFound'
  | 'unauthorized'
  | 'digestMismatch'
  | 'wrongPlatform'
  | 'invalidManifest'
  | 'unsupportedMediaType'
  | 'addressDenied'
  | 'tooLarge'
  | 'layerRejected'
  | 'timeout';

/** The one error of this library. Its message may be shown to the tenant who named the image; it holds no credential. */
export class ImageError extends Error {
  override readonly name = 'ImageError';

  constructor(
    readonly code: ImageErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** True for failures that another attempt may not meet: the registry, not the image, is at fault. */
export const isTransient = (error: unknown): boolean =>
  error instanceof ImageError && (error.code === 'registryUnavailable' || error.code === 'timeout');

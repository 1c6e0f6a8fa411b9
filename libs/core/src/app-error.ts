/**
 * The closed list of reasons for which Berth refuses something. `libs/wire` gives each its HTTP status and title, and fails to compile
 * when one is missing.
 */
export const appErrorCodes = [
  'invalidRequest',
  'invalidImage',
  'unsupportedField',
  'unauthorized',
  'forbidden',
  'quotaNeverFits',
  'tagNotAllowed',
  'featureNotAllowed',
  'notFound',
  'methodNotAllowed',
  'conflict',
  'idempotencyMismatch',
  'runNotTerminal',
  'payloadTooLarge',
  'unsupportedMediaType',
  'imageNotFound',
  'imageUnauthorized',
  'imageUnsupported',
  'overQuota',
  'internal',
  'registryUnavailable',
  'unavailable',
] as const;
export type AppErrorCode = (typeof appErrorCodes)[number];

/**
 * A refusal, on its way to whoever asked. `detail` is one sentence for people and holds nothing that the asker may not know; `members` are
 * the extra members of the problem document (RFC 9457), such as `dimension` or `errors`.
 */
export class AppError extends Error {
  override readonly name = 'AppError';

  constructor(
    readonly code: AppErrorCode,
    readonly detail: string,
    readonly members: Readonly<Record<string, unknown>> = {},
    options?: { cause?: unknown },
  ) {
    super(`${code}: ${detail}`, options);
  }
}

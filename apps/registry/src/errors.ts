/**
 * The registry's closed table of error codes: those of the OCI distribution-spec ("Error Codes"), and below the line those that it leaves to
 * registries. The status is the usual one; a refusal may carry another where the specification asks for it.
 */
export const errorCodes = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 404,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  SIZE_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
  // Not in the specification.
  RANGE_INVALID: 416,
  TAG_INVALID: 400,
  PAGINATION_INVALID: 400,
  INSUFFICIENT_STORAGE: 507,
  UNAVAILABLE: 503,
  UNKNOWN: 500,
} as const satisfies Record<string, number>;
export type RegistryErrorCode = keyof typeof errorCodes;

/** A refusal, on its way to the client. `message` is one sentence for people and holds nothing that the caller may not know. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly status: number;

  constructor(
    readonly code: RegistryErrorCode,
    message: string,
    readonly options: { status?: number; headers?: Readonly<Record<string, string>>; detail?: unknown; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = options.status ?? errorCodes[code];
  }

  /** The body that the specification prescribes. */
  body(): { errors: { code: string; message: string; detail?: unknown }[] } {
    const { detail } = this.options;
    return { errors: [{ code: this.code, message: this.message, ...(detail === undefined ? {} : { detail }) }] };
  }
}

/** What the operating system says when a disk or a quota on it is full. */
export function isOutOfSpace(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** For `.catch`: what is not there is null; every other error goes on. */
export function nullWhenMissing(error: unknown): null {
  if (isMissing(error)) return null;
  throw error;
}

/** For `.catch` of a directory's listing: a directory that is not there is empty. */
export function emptyWhenMissing(error: unknown): string[] {
  if (isMissing(error)) return [];
  throw error;
}

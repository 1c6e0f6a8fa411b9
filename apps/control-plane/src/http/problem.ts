import { AppError, type AppErrorCode } from '@berth/core';
import { type Problem, problemCodes } from '@berth/wire';
import { HttpException } from '@nestjs/common';
import { secondsToNextMinute } from './rate-limit.js';

export const problemContentType = 'application/problem+json';

/** Seconds after which a client may ask again, for the codes that say so. */
const retryAfterSeconds: Partial<Record<AppErrorCode, number>> = { overQuota: 5, registryUnavailable: 5, unavailable: 2 };

export interface RenderedProblem {
  readonly body: Problem;
  readonly headers: Readonly<Record<string, string>>;
}

/** The problem document of a refusal (RFC 9457), and the headers that belong to it. */
export function renderProblem(error: AppError, requestId: string | undefined): RenderedProblem {
  const { status, title } = problemCodes[error.code];
  const isRate = error.code === 'overQuota' && error.members.dimension === 'submissionsPerMinute';
  const retryAfter = isRate ? secondsToNextMinute(Date.now()) : retryAfterSeconds[error.code];
  return {
    body: {
      type: `urn:berth:error:${error.code}`,
      code: error.code,
      title,
      status,
      detail: error.detail,
      ...error.members,
      ...(requestId === undefined ? {} : { requestId }),
    },
    headers: {
      'content-type': problemContentType,
      ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
      ...(error.code === 'unauthorized' ? { 'www-authenticate': 'Bearer realm="berth"' } : {}),
    },
  };
}

/**
 * The refusal that an error of any origin amounts to: our own as they are, the framework's by their codes, a database that cannot be reached as
 * `unavailable`, and every surprise as `internal`, of which the client learns nothing but the request id.
 */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof HttpException) return fromStatus(error.getStatus(), error);
  const { code, statusCode } = (typeof error === 'object' && error !== null ? error : {}) as { code?: unknown; statusCode?: unknown };
  if (typeof code === 'string') {
    const known = frameworkErrors[code];
    if (known !== undefined) return new AppError(known[0], known[1], {}, { cause: error });
    if (outages.test(code)) return unavailable(error);
    if (code.startsWith('FST_ERR_') && typeof statusCode === 'number') return fromStatus(statusCode, error);
  }
  if (error instanceof Error && lostConnections.test(error.message)) return unavailable(error);
  // secure-json-parse and JSON.parse throw these while a body is read, with the status already on them.
  if (error instanceof SyntaxError && statusCode === 400) {
    return new AppError('invalidRequest', 'the body is not valid JSON', {}, { cause: error });
  }
  return new AppError('internal', 'the request id leads the operator to the cause', {}, { cause: error });
}

const frameworkErrors: Readonly<Record<string, readonly [AppErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['payloadTooLarge', 'a body may have at most 1 MiB'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupportedMediaType', 'send the body as application/json'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['invalidRequest', 'the body is not as long as Content-Length says'],
  FST_ERR_CTP_INVALID_JSON_BODY: ['invalidRequest', 'the body is not valid JSON'],
  FST_ERR_BAD_URL: ['invalidRequest', 'the path is not a valid URL path'],
};

// Node's connection errors, and the SQLSTATE classes and codes of a server that is gone, starting, stopping or full.
const outages = /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|08\w{3}|57P0[1-5]|53300|P1001|P1002|P1017|P2024)$/;

// What pg says, without a code, of a connection that broke or did not come about.
const lostConnections =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after)/;

function unavailable(cause: unknown): AppError {
  return new AppError('unavailable', 'the database cannot be reached now', {}, { cause });
}

function fromStatus(status: number, cause: unknown): AppError {
  if (status === 404) return new AppError('notFound', 'there is no such route', {}, { cause });
  if (status === 413) return new AppError('payloadTooLarge', 'a body may have at most 1 MiB', {}, { cause });
  if (status === 415) return new AppError('unsupportedMediaType', 'send the body as application/json', {}, { cause });
  if (status >= 400 && status < 500) return new AppError('invalidRequest', 'the request is not well-formed HTTP', {}, { cause });
  if (status === 503) return new AppError('unavailable', 'the service is stopping', {}, { cause });
  return new AppError('internal', 'the request id leads the operator to the cause', {}, { cause });
}

import { type AppErrorCode, limitDimensions, scopes } from '@berth/core';
import { z } from 'zod';

/** The closed table of error codes: code -> HTTP status and title. docs/errors.md lists the same, and a test compares them. */
export const problemCodes = {
  invalidRequest: { status: 400, title: 'The request is not valid' },
  invalidImage: { status: 400, title: 'The image reference is not valid' },
  unsupportedField: { status: 400, title: 'The field is not supported' },
  unauthorized: { status: 401, title: 'The key is missing, unknown, expired or revoked' },
  forbidden: { status: 403, title: 'The key may not do this' },
  quotaNeverFits: { status: 403, title: 'The request can never fit the quota' },
  tagNotAllowed: { status: 403, title: 'This tenant must name images by digest' },
  featureNotAllowed: { status: 403, title: 'This tenant may not use what the request asks for' },
  notFound: { status: 404, title: 'There is no such thing' },
  methodNotAllowed: { status: 405, title: 'The method is not allowed here' },
  conflict: { status: 409, title: 'The request conflicts with what is there' },
  idempotencyMismatch: { status: 409, title: 'The idempotency key was used with another body' },
  runNotTerminal: { status: 409, title: 'The run has not ended' },
  payloadTooLarge: { status: 413, title: 'The body is too large' },
  unsupportedMediaType: { status: 415, title: 'The content type is not supported' },
  imageNotFound: { status: 422, title: 'The registry knows no such image' },
  imageUnauthorized: { status: 422, title: 'The registry refused access to the image' },
  imageUnsupported: { status: 422, title: 'The image cannot run here' },
  overQuota: { status: 429, title: 'The quota is used up' },
  internal: { status: 500, title: 'Something went wrong on our side' },
  registryUnavailable: { status: 503, title: 'The registry cannot be reached' },
  unavailable: { status: 503, title: 'The service cannot answer now' },
} as const satisfies Record<AppErrorCode, { status: number; title: string }>;
export type ProblemCode = keyof typeof problemCodes;

/** RFC 9457. `errors` names each bad field and the fix; the quota members stand with overQuota and quotaNeverFits. */
export const problem = z.object({
  type: z.string().describe('urn:berth:error:CODE'),
  code: z.enum(Object.keys(problemCodes) as [ProblemCode, ...ProblemCode[]]),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  requestId: z.string().optional(),
  errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
  scope: z.enum(scopes).optional().describe('What the key does not open; with forbidden'),
  dimension: z
    .enum([...limitDimensions, 'timeoutMs'])
    .optional()
    .describe('What is short; timeoutMs where a run asks for more than the maximum of one'),
  limit: z.int().optional(),
  used: z.int().optional(),
  requested: z.int().optional(),
});
export type Problem = z.infer<typeof problem>;

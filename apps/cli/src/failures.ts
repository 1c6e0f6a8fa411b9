import type { Problem } from '@berth/wire';

/** The exit codes that are not the container's; the same as Docker's and the shell's. */
export const exitCodes = { ok: 0, usage: 2, waitTimedOut: 124, berth: 125, interrupted: 130 } as const;

/** The command line is wrong. `message` says what, and how it should be. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Berth refused a request, and said why. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';

  constructor(
    readonly problem: Problem,
    readonly retryAfterSeconds: number | null,
  ) {
    super(problem.detail ?? problem.title);
  }
}

/** No answer, or none that Berth would give. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
}

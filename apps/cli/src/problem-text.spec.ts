import type { Problem } from '@berth/wire';
import { describe, expect, it } from 'vitest';
import { describeProblem } from './problem-text.js';

const problem = (more: Partial<Problem>): Problem => ({
  type: 'urn:berth:error:invalidRequest',
  code: 'invalidRequest',
  title: 'The request is not valid',
  status: 400,
  ...more,
});

describe('a refusal', () => {
  it('says the detail, or else the title', () => {
    expect(describeProblem(problem({}), null)).toBe('error: The request is not valid');
    expect(describeProblem(problem({ detail: 'image: no such tag' }), null)).toBe('error: image: no such tag');
  });

  it('names each bad field with the fix', () => {
    const errors = [
      { field: 'resources.memoryBytes', message: 'must be at least 8388608' },
      { field: 'env', message: 'must not contain "="' },
    ];
    expect(describeProblem(problem({ errors }), null)).toBe(
      'error: The request is not valid\n  resources.memoryBytes: must be at least 8388608\n  env: must not contain "="',
    );
  });

  it('shows a quota’s numbers in the units of the flags, and when to try again', () => {
    const over = problem({
      code: 'overQuota',
      status: 429,
      title: 'The quota is used up',
      dimension: 'memoryBytes',
      limit: 2 ** 30,
      used: 2 ** 29,
      requested: 2 ** 30,
    });
    expect(describeProblem(over, 5)).toBe(
      'error: The quota is used up\n  memoryBytes: limit 1 GiB, used 512 MiB, requested 1 GiB\n  try again in 5 s',
    );
    expect(describeProblem(problem({ dimension: 'cpuMillis', limit: 500, requested: 1500 }), null)).toContain(
      'cpuMillis: limit 0.5 cpus, requested 1.5 cpus',
    );
    expect(describeProblem(problem({ dimension: 'concurrentRuns', limit: 1, used: 1, requested: 1 }), null)).toContain(
      'limit 1 runs, used 1 runs',
    );
  });

  it('gives the request id of what is our fault', () => {
    expect(describeProblem(problem({ status: 500, code: 'internal', requestId: 'req-1' }), null)).toContain('request id req-1');
    expect(describeProblem(problem({ requestId: 'req-1' }), null)).not.toContain('req-1');
  });
});

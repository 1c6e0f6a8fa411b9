import { AppError } from '@berth/core';
import { describe, expect, it } from 'vitest';
import { renderProblem } from './problem.js';
import { rateLimitHeaders, secondsToNextMinute } from './rate-limit.js';

describe('the rate of submissions', () => {
  it('is told with what is left of it, never less than nothing, and when it is whole again', () => {
    expect(rateLimitHeaders(10, 3, 59_500)).toEqual({ 'ratelimit-policy': '"submissions";q=10;w=60', ratelimit: '"submissions";r=7;t=1' });
    expect(rateLimitHeaders(10, 12, 0).ratelimit).toBe('"submissions";r=0;t=60');
    expect(rateLimitHeaders(Number.MAX_SAFE_INTEGER, 3, 0)).toEqual({});
  });

  it('says to try again in the next minute, other dimensions soon', () => {
    const retryAfter = (dimension: string) =>
      Number(renderProblem(new AppError('overQuota', '', { dimension }), undefined).headers['retry-after']);
    expect(Math.abs(retryAfter('submissionsPerMinute') - secondsToNextMinute(Date.now()))).toBeLessThanOrEqual(1);
    expect(retryAfter('cpuMillis')).toBe(5);
  });
});

const minuteMs = 60_000;

/** Seconds, at least one, until the calendar minute by which submissions are counted is over. */
export function secondsToNextMinute(nowMs: number): number {
  return Math.ceil((minuteMs - (nowMs % minuteMs)) / 1000);
}

/**
 * What a client may learn of its rate before it is refused (draft-ietf-httpapi-ratelimit-headers): the policy, and what is left of this minute's
 * submissions. None where the tenant has no limit.
 */
export function rateLimitHeaders(limit: number, used: number, nowMs: number): Readonly<Record<string, string>> {
  if (limit >= Number.MAX_SAFE_INTEGER) return {};
  return {
    'ratelimit-policy': `"submissions";q=${limit};w=60`,
    ratelimit: `"submissions";r=${Math.max(0, limit - used)};t=${secondsToNextMinute(nowMs)}`,
  };
}

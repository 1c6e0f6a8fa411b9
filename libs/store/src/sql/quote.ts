import { randomBytes } from 'node:crypto';
import { AppError, idRandomBytes, newId, planAdmissions, runAmount } from '@berth/core';
import type pg from 'pg';
import type { QuoteInput, QuoteOutcome } from '../ports.js';
import { readStandings, refusedBy } from './admission-standing.js';
import { imaginedView } from './explanation-view.js';

/** See `RunStore.quote`. */
export async function quote(pool: pg.Pool, input: QuoteInput): Promise<QuoteOutcome> {
  const { tenantId, now, onQuota, priority, needs = [] } = input;
  const standing = (await readStandings(pool, [{ tenantId, idempotency: null }], now)).get(tenantId);
  if (standing === undefined) throw new AppError('notFound', 'there is no such tenant');
  const amount = runAmount({ ...input.request, maxAttempts: input.maxAttempts });
  const [decision] = planAdmissions(standing.quota, standing.used, [{ amount, onQuota }]);
  if (decision?.kind === 'refuse') return refusedBy(pool, standing, amount, decision);
  const runId = newId('run', now.getTime(), randomBytes(idRandomBytes));
  const view = await imaginedView(pool, { tenantId, runId, reserved: decision?.kind === 'reserve', needs, priority, amount }, now);
  if (view === null) throw new AppError('notFound', 'there is no such tenant');
  return { kind: 'quoted', view };
}

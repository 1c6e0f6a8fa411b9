import { setTimeout as sleep } from 'node:timers/promises';
import { isTerminal, type LimitDimension, limitDimensions, type RunDemand } from '@berth/core';
import type { AdmitOutcome, QuotaRow, Store, TenantRow } from './ports.js';
import { MiB, type StoreFixture } from './testing.js';
import { violations } from './watchers.js';

/*
 * The edge of each quota: more submissions at once, through several replicas, than one dimension has room for. Nothing may exceed it for an instant,
 * and nothing that was accepted may be lost. The behaviour behind `npm run edge`, and behind the bounded form of it in the suite.
 */

const demand: RunDemand = { cpuMillis: 100, memoryBytes: 64 * MiB, diskBytes: MiB, pids: 10, logBytes: 1000, attemptMs: 60_000 };
/** What one such run takes of each dimension. */
const each: QuotaRow = {
  concurrentRuns: 1,
  cpuMillis: 100,
  memoryBytes: 64 * MiB,
  diskBytes: MiB,
  pids: 10,
  logBytes: 1000,
  monthlyCpuMs: 6000,
  monthlyMemoryMibSeconds: 64 * 60,
  queuedRuns: 1,
  submissionsPerMinute: 1,
};

export interface EdgeRound {
  readonly dimension: LimitDimension;
  readonly reserved: number;
  readonly waiting: number;
  readonly refused: number;
  /** What went wrong, in words; empty when nothing did. */
  readonly faults: readonly string[];
}

/** One round at the edge of one dimension: half of the submissions fit. The watchers must be installed; `stores` are the replicas. */
export async function edgeRound(
  fixture: StoreFixture,
  stores: readonly Store[],
  dimension: LimitDimension,
  submissions: number,
): Promise<EdgeRound> {
  const fitting = Math.floor(submissions / 2);
  const isLine = dimension === 'queuedRuns';
  // All count in one minute, or the edge moves on under the round.
  if (dimension === 'submissionsPerMinute') await farFromNextMinute();
  const limit = { ...generous(submissions), ...(isLine ? { concurrentRuns: 1 } : {}), [dimension]: fitting * each[dimension] };
  const tenant = await fixture.tenant(limit);
  const onQuota = (i: number) => (i % 5 === 4 && !isLine ? 'reject' : 'queue');
  const outcomes = await Promise.all(
    Array.from({ length: submissions }, (_, i) => {
      // Every tenth is sent twice, with one key, to two replicas.
      const idempotency = i % 10 < 2 ? { key: `${Math.floor(i / 10)}`, bodyHash: 'h' } : null;
      return fixture.admit(tenant, { request: demand, onQuota: onQuota(i), idempotency }, stores[i % stores.length]);
    }),
  );
  const faults = [...(await violations(fixture)), ...(await books(fixture, tenant, outcomes))];
  const created = outcomes.filter((outcome) => outcome.kind === 'created');
  const waiting = created.filter(({ run }) => run.waitingFor === 'quota').length;
  const used = (await fixture.store.tenants.find(tenant.id))?.used[dimension] ?? Number.NaN;
  if (used !== limit[dimension as keyof typeof limit])
    faults.push(`${dimension}: ${used} of ${fitting * each[dimension]} used, with more to come`);
  faults.push(...(await drain(fixture, stores, tenant)));
  return {
    dimension,
    reserved: created.length - waiting,
    waiting,
    refused: outcomes.filter(({ kind }) => kind === 'refused').length,
    faults,
  };
}

/** Every dimension, so often. */
export async function* edgeRounds(
  fixture: StoreFixture,
  stores: readonly Store[],
  rounds: number,
  submissions: number,
): AsyncGenerator<EdgeRound & { round: number }> {
  for (let round = 1; round <= rounds; round++) {
    for (const dimension of limitDimensions) yield { round, ...(await edgeRound(fixture, stores, dimension, submissions)) };
  }
}

function generous(submissions: number): QuotaRow {
  return Object.fromEntries(limitDimensions.map((dimension) => [dimension, 2 * submissions * each[dimension]])) as unknown as QuotaRow;
}

async function farFromNextMinute(): Promise<void> {
  const leftMs = 60_000 - (Date.now() % 60_000);
  if (leftMs < 10_000) await sleep(leftMs + 50);
}

/** What the answers say against what is stored: a run for each acceptance, none beside them, one for each key, and sums that agree. */
async function books(fixture: StoreFixture, tenant: TenantRow, outcomes: readonly AdmitOutcome[]): Promise<string[]> {
  const faults: string[] = [];
  const promised = outcomes.flatMap((outcome) => (outcome.kind === 'refused' ? [] : [outcome.run.id]));
  const created = outcomes.filter(({ kind }) => kind === 'created').length;
  const stored = new Set(
    (await fixture.query<{ id: string }>('SELECT id FROM runs WHERE tenant_id = $1', [tenant.id])).map(({ id }) => id),
  );
  if (stored.size !== created) faults.push(`${created} runs were accepted and ${stored.size} are stored`);
  for (const id of promised) if (!stored.has(id)) faults.push(`${id} was accepted and is lost`);
  for (const { tenantId, used, sum } of await fixture.store.tenants.recount()) {
    if (tenantId === tenant.id && JSON.stringify(used) !== JSON.stringify(sum))
      faults.push(`used ${JSON.stringify(used)}, sum ${JSON.stringify(sum)}`);
  }
  return faults;
}

/** Cancels everything from all replicas at once; what waits is admitted meanwhile. Nothing may be left that is held, or not ended. */
async function drain(fixture: StoreFixture, stores: readonly Store[], tenant: TenantRow): Promise<string[]> {
  const runs = await fixture.query<{ id: string }>('SELECT id FROM runs WHERE tenant_id = $1', [tenant.id]);
  await Promise.all(runs.map(({ id }, i) => stores[i % stores.length]?.runs.cancel(tenant.id, id, new Date())));
  const faults = await violations(fixture);
  const states = await fixture.query<{ state: Parameters<typeof isTerminal>[0] }>('SELECT DISTINCT state FROM runs WHERE tenant_id = $1', [
    tenant.id,
  ]);
  for (const { state } of states) if (!isTerminal(state)) faults.push(`a run is still ${state}`);
  const used = (await fixture.store.tenants.find(tenant.id))?.used;
  for (const [dimension, amount] of Object.entries(used ?? {})) {
    if (dimension !== 'submissionsPerMinute' && amount !== 0) faults.push(`${dimension}: ${amount} is still held by nothing`);
  }
  return faults;
}

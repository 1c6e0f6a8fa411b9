import { AppError } from '@berth/core';
import { type AdmitOutcome, type RunRow, RunStore, type TenantRow } from '@berth/store';
import type { CreateRunRequest, RunSpec } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { Metrics } from '../metrics/metrics.js';
import { AnnounceOutcome } from '../reporting/announce-outcome.js';
import { bodyHash } from './body-hash.js';
import { demandOf, PrepareRun } from './prepare-run.js';

export interface AdmittedRun {
  readonly run: RunRow;
  /** The idempotency key had been used with the same body: this is the run of then. */
  readonly replayed: boolean;
  /** Of this minute, the run's own included; null for a replay, which counts for none. */
  readonly submissions: { readonly limit: number; readonly used: number } | null;
}

/** Accepts a run for a tenant, or refuses it. When it returns, the run is committed; the rest of its way needs no client. */
@Injectable()
export class AdmitRun {
  constructor(
    private readonly prepareRun: PrepareRun,
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly announce: AnnounceOutcome,
    private readonly metrics: Metrics,
  ) {}

  async execute(tenant: TenantRow, request: CreateRunRequest, idempotencyKey: string | null): Promise<AdmittedRun> {
    try {
      const outcome = await this.admit(tenant, request, idempotencyKey);
      this.metrics.submissions.inc({
        outcome: outcome.replayed ? 'replayed' : outcome.run.waitingFor === 'quota' ? 'waiting' : 'admitted',
      });
      return outcome;
    } catch (error) {
      this.metrics.submissions.inc({ outcome: error instanceof AppError ? error.code : 'internal' });
      throw error;
    }
  }

  private async admit(tenant: TenantRow, request: CreateRunRequest, idempotencyKey: string | null): Promise<AdmittedRun> {
    const idempotency = idempotencyKey === null ? null : { key: idempotencyKey, bodyHash: bodyHash(request) };
    const { spec, digest } = await this.prepareRun.execute(tenant, request).catch(async (error: unknown) => {
      // What was accepted once stays accepted, whatever became of its tag, its registry or the tenant's limits since.
      const known = idempotency === null ? null : await this.runs.findReplay(tenant.id, idempotency);
      if (known?.kind === 'refused') throw refusal(known);
      return known === null ? Promise.reject(error) : { spec: known.run.spec as RunSpec, digest: known.run.digest };
    });
    const outcome = await this.runs.admit({
      ...demandOf(tenant, spec),
      idempotency,
      image: request.image,
      digest,
      spec,
      labels: spec.labels,
    });
    if (outcome.kind === 'refused') throw refusal(outcome);
    if (outcome.kind === 'created') this.announce.execute({ ...outcome, changed: [outcome.run.id, ...outcome.changed] });
    const submissions = outcome.kind === 'created' ? outcome.submissions : null;
    return { run: outcome.run, replayed: outcome.kind === 'replayed', submissions };
  }
}

/** A refusal of the store's as the API tells it. */
export function refusal(outcome: Extract<AdmitOutcome, { kind: 'refused' }>): AppError {
  const { code, dimension, limit, used, requested } = outcome;
  switch (code) {
    case 'idempotencyMismatch':
      return new AppError(code, 'this Idempotency-Key belongs to a request with another body; use a fresh key');
    case 'quotaNeverFits':
      return new AppError(code, `${dimension}: ${requested} requested, the quota is ${limit}`, { dimension, limit, used, requested });
    case 'overQuota':
      return new AppError(code, `${dimension}: ${requested} requested, ${used} of ${limit} used`, { dimension, limit, used, requested });
  }
}

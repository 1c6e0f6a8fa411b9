import { AppError, neededFeatures } from '@berth/core';
import { type AdmitOutcome, type RunRow, RunStore, type TenantRow } from '@berth/store';
import type { CreateRunRequest, RunSpec } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { Metrics } from '../metrics/metrics.js';
import { WakeUps } from '../queue/wake-ups.js';
import { RunChanges } from '../reporting/run-changes.js';
import { bodyHash } from './body-hash.js';
import { PrepareRun } from './prepare-run.js';

export interface AdmittedRun {
  readonly run: RunRow;
  /** The idempotency key had been used with the same body: this is the run of then. */
  readonly replayed: boolean;
}

/** Accepts a run for a tenant, or refuses it. When it returns, the run is committed; the rest of its way needs no client. */
@Injectable()
export class AdmitRun {
  constructor(
    private readonly prepareRun: PrepareRun,
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly wakeUps: WakeUps,
    private readonly changes: RunChanges,
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
      // What was accepted once stays accepted, whatever became of its tag or its registry since.
      const known = idempotency === null ? null : await this.findKnown(tenant, idempotency);
      return known === null ? Promise.reject(error) : { spec: known.spec as RunSpec, digest: known.digest };
    });
    const outcome = await this.runs.admit({
      tenantId: tenant.id,
      idempotency,
      image: request.image,
      digest,
      spec,
      request: { cpuMillis: spec.resources.cpuMillis, memoryBytes: spec.resources.memoryBytes },
      onQuota: spec.onQuota,
      priority: spec.priority,
      maxAttempts: spec.maxAttempts,
      labels: spec.labels,
      needs: neededFeatures(spec),
      now: new Date(),
    });
    if (outcome.kind === 'refused') throw refusal(outcome);
    if (outcome.kind === 'created') {
      if (outcome.admitted) this.wakeUps.admitted([outcome.run.id]);
      this.changes.announce([outcome.run.id]);
    }
    return { run: outcome.run, replayed: outcome.kind === 'replayed' };
  }

  /** The run of an idempotency key that was used before; null when it is fresh. Throws `idempotencyMismatch` for another body. */
  private async findKnown(tenant: TenantRow, idempotency: { key: string; bodyHash: string }): Promise<RunRow | null> {
    // A submission that exceeds every quota is never accepted, so this writes nothing: the store looks at the key before it looks at the amount.
    const outcome = await this.runs.admit({
      tenantId: tenant.id,
      idempotency,
      image: '',
      digest: '',
      spec: {},
      request: { cpuMillis: Number.MAX_SAFE_INTEGER, memoryBytes: 0 },
      onQuota: 'reject',
      priority: 0,
      maxAttempts: 1,
      labels: {},
      now: new Date(),
    });
    if (outcome.kind === 'refused' && outcome.code === 'idempotencyMismatch') throw refusal(outcome);
    return outcome.kind === 'replayed' ? outcome.run : null;
  }
}

function refusal(outcome: Extract<AdmitOutcome, { kind: 'refused' }>): AppError {
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

import { type Explanation, explainRun, formatImageReference, parseImageReference, type QuotaAmount } from '@berth/core';
import { RunStore, type TenantRow } from '@berth/store';
import type { CreateRunRequest, RunSpec } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { refusal } from './admit-run.js';
import { demandOf, PrepareRun } from './prepare-run.js';
import { ResolveImage } from './resolve-image.js';

/** What would become of a submission, and what it would take. */
export interface QuotedRun {
  readonly image: string;
  readonly digest: string;
  readonly spec: RunSpec;
  readonly explanation: Explanation;
  /** What it would take of the quota when it is admitted. */
  readonly amount: QuotaAmount;
  /** What a node without any of the image fetches. */
  readonly pull: { readonly bytes: number; readonly layers: number };
}

/** Answers a submission as `AdmitRun` would, refusals included, and submits nothing. */
@Injectable()
export class QuoteRun {
  constructor(
    private readonly prepareRun: PrepareRun,
    private readonly resolveImage: ResolveImage,
    @Inject(RunStore) private readonly runs: RunStore,
  ) {}

  async execute(tenant: TenantRow, request: CreateRunRequest): Promise<QuotedRun> {
    const { spec, digest } = await this.prepareRun.execute(tenant, request);
    const demand = demandOf(tenant, spec);
    const outcome = await this.runs.quote(demand);
    if (outcome.kind === 'refused') throw refusal(outcome);
    const { registry, repository } = parseImageReference(request.image);
    const { manifest } = await this.resolveImage.describe(tenant, `${formatImageReference({ registry, repository })}@${digest}`);
    const { config, layers } = manifest.content;
    return {
      image: request.image,
      digest,
      spec,
      explanation: explainRun(outcome.view, demand.now),
      amount: outcome.view.amount,
      pull: { bytes: layers.reduce((total, { size }) => total + size, config.size), layers: layers.length },
    };
  }
}

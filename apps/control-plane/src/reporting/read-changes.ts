import { AppError } from '@berth/core';
import { NodeStore, RunStore, type TenantRow } from '@berth/store';
import { changesMax, type RunDiff } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { NodeQuestions } from '../fleet/node-questions.js';

const answerMaxMs = 30_000;

/** Asks a run's node what its container wrote. */
@Injectable()
export class ReadChanges {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(NodeStore) private readonly nodes: NodeStore,
    private readonly questions: NodeQuestions,
  ) {}

  /** Null when there is no such run. Throws `conflict` when it has no container now, or one that cannot be looked into. */
  async execute(tenant: TenantRow, runId: string, signal: AbortSignal): Promise<RunDiff | null> {
    const run = await this.runs.find(tenant.id, runId);
    if (run === null) return null;
    const attempt = run.attempts.at(-1);
    if ((run.state !== 'running' && run.state !== 'stopping') || attempt?.nodeId == null)
      throw new AppError('conflict', `the run is ${run.state}: only a running one has a filesystem of its own`);
    const node = await this.nodes.find(attempt.nodeId);
    if (node?.features.includes('changes') !== true) throw new AppError('conflict', "the run's node cannot look into containers");
    const lease = { runId, attempt: attempt.number, epoch: attempt.epoch };
    const answer = await this.questions.ask(attempt.nodeId, lease, { kind: 'changes', max: changesMax }, answerMaxMs, signal);
    if (answer.kind === 'refused') throw new AppError('conflict', answer.message);
    const { changes, truncated } = answer;
    return { changes, truncated };
  }
}

import { AppError } from '@berth/core';
import { NodeStore, type RunRow, RunStore, type TenantRow } from '@berth/store';
import type { NodeAnswer, NodeQuestion } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { NodeQuestions } from '../fleet/node-questions.js';

type Kind = NodeQuestion['kind'];
type AnswerTo<K extends Kind> = Extract<NodeAnswer, { kind: K }>;

/** Asks the node of a running run about its container. */
@Injectable()
export class AskRun {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(NodeStore) private readonly nodes: NodeStore,
    private readonly questions: NodeQuestions,
  ) {}

  /** `question` is called when it is about to be asked. Null when there is no such run. Throws `conflict` when it has no container now, or its node cannot do what is asked, and `unavailable` when that gives no answer. */
  async execute<K extends Kind>(
    tenant: TenantRow,
    runId: string,
    kind: K,
    question: (run: RunRow) => Promise<Extract<NodeQuestion, { kind: K }>>,
    within: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<AnswerTo<K> | null> {
    const run = await this.runs.find(tenant.id, runId);
    if (run === null) return null;
    const attempt = run.attempts.at(-1);
    if ((run.state !== 'running' && run.state !== 'stopping') || attempt?.nodeId == null)
      throw new AppError('conflict', `the run is ${run.state}: only a running one has a filesystem of its own`);
    const node = await this.nodes.find(attempt.nodeId);
    if (node?.features.includes(kind) !== true) throw new AppError('conflict', "the run's node cannot look into containers");
    const lease = { runId, attempt: attempt.number, epoch: attempt.epoch };
    const answer = await this.questions.ask(attempt.nodeId, lease, await question(run), within.timeoutMs, within.signal);
    if (answer.kind === 'refused') throw new AppError('conflict', answer.message);
    if (answer.kind !== kind) throw new AppError('unavailable', "the run's node answered something else");
    return answer as AnswerTo<K>;
  }
}

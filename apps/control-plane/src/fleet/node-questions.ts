import { randomUUID } from 'node:crypto';
import { AppError, mintPullToken, type RegistryAction } from '@berth/core';
import { type LeaseRow, QuestionStore } from '@berth/store';
import { type ControlMessage, type NodeAnswer, type NodeQuestion, nodeAnswer, nodeQuestion } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { Signals } from '../queue/signals.js';
import { NodeLinks } from './node-links.js';

type Ask = Extract<ControlMessage, { type: 'ask' }>;

/** Questions and signals may get lost with a connection or a relay: so often the one is asked anew, and the answer looked for. */
const askAgainMs = 2_000;
/** After the asker's own patience the row is anybody's to remove. */
const marginMs = 60_000;

/** Asks nodes about what they hold, and brings their answers to whoever asked, on whichever replica either is. */
@Injectable()
export class NodeQuestions {
  /** Who waits here, by question. */
  private readonly waiting = new Map<string, () => void>();

  constructor(
    @Inject(QuestionStore) private readonly questions: QuestionStore,
    private readonly links: NodeLinks,
    private readonly signals: Signals,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    signals.on('answered', ({ questionId }) => this.waiting.get(questionId)?.());
  }

  /** The node's answer. Throws `unavailable` when it gives none in time or the signal comes. */
  async ask(nodeId: string, lease: LeaseRow, question: NodeQuestion, timeoutMs: number, signal: AbortSignal): Promise<NodeAnswer> {
    const id = randomUUID();
    const deadline = Date.now() + timeoutMs;
    await this.questions.ask({ id, nodeId, lease, question }, new Date(), new Date(deadline + marginMs));
    try {
      for (;;) {
        if (signal.aborted) throw new AppError('unavailable', 'the request was given up');
        const answered = this.wake(id, Math.min(askAgainMs, Math.max(0, deadline - Date.now())), signal);
        this.links.ask(nodeId, id);
        await answered;
        const answer = await this.questions.answerOf(id);
        if (answer !== null) return nodeAnswer.parse(answer);
        if (Date.now() >= deadline) throw new AppError('unavailable', "the run's node does not answer; try again");
      }
    } finally {
      this.waiting.delete(id);
      await this.questions.forget(id);
    }
  }

  /** What a node is to be asked; null when that has been done with. */
  async of(nodeId: string, id: string): Promise<Ask | null> {
    const row = await this.questions.unanswered(nodeId, id);
    return row === null ? null : { type: 'ask', id, lease: row.lease, question: this.armed(nodeQuestion.parse(row.question)) };
  }

  /** Takes a node's answer in. */
  async answered(nodeId: string, id: string, answer: NodeAnswer): Promise<void> {
    if (!(await this.questions.answer(nodeId, id, answer))) return;
    const here = this.waiting.get(id);
    if (here !== undefined) here();
    else this.signals.send({ kind: 'answered', questionId: id });
  }

  /** Tokens are minted as a question leaves and are nowhere else. */
  private armed(question: NodeQuestion): NodeQuestion {
    if (question.kind !== 'commit') return question;
    const { sourceRepository, repository } = question;
    return {
      ...question,
      pullAuthorization: sourceRepository === null ? null : this.authorization(sourceRepository, ['pull']),
      pushAuthorization: this.authorization(repository, ['pull', 'push']),
    };
  }

  private authorization(repository: string, actions: readonly RegistryAction[]): string {
    const { secret, pullTokenMs } = this.config.registry;
    return `Bearer ${mintPullToken({ repositories: [repository], actions, exp: Math.floor((Date.now() + pullTokenMs) / 1000) }, secret)}`;
  }

  /** Resolves at the answer, at the latest after `ms`. */
  private wake(id: string, ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener('abort', end);
      this.waiting.set(id, end);
    });
  }
}

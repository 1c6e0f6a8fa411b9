import { type Change, ImageError, type Snapshotter, UnreadableLayerError } from '@berth/image';
import type { Lease, NodeAnswer, NodeQuestion } from '@berth/wire';
import type { Logger } from 'pino';
import type { Attempt } from '../attempts/attempt.js';
import { attemptKey } from '../attempts/attempt-key.js';
import type { CommitContainer } from './commit-container.js';

export interface AnswerParts {
  readonly snapshotter: Snapshotter;
  readonly commit: CommitContainer;
  readonly attempts: () => readonly Attempt[];
  readonly log: Logger;
}

/** Paths of an answer together, far below the frame that the link takes. */
const answerBytesMax = 4 * 1024 * 1024;

const refused = (message: string): NodeAnswer => ({ kind: 'refused', message });

/** Answers what the control plane asks about attempts of this node. A question that comes again while it is being answered is one. */
export class AnswerQuestions {
  readonly #answering = new Set<string>();

  constructor(private readonly parts: AnswerParts) {}

  /** Null when it is being answered. Never rejects: what fails is refused, and told in the log. */
  async answer(id: string, lease: Lease, question: NodeQuestion): Promise<NodeAnswer | null> {
    if (this.#answering.has(id)) return null;
    this.#answering.add(id);
    try {
      const attempt = this.parts.attempts().find(({ key }) => key === attemptKey(lease));
      if (attempt === undefined || attempt.facts.container !== 'running') return refused('the run has no container on its node now');
      const answer =
        question.kind === 'commit' ? await this.parts.commit.execute(attempt, question) : await this.changesOf(attempt, question.max);
      return answer ?? refused('the run has no filesystem on its node now');
    } catch (error) {
      if (error instanceof UnreadableLayerError) return refused(`the container's writable layer cannot be read: ${error.message}`);
      if (error instanceof ImageError) return refused(error.message);
      this.parts.log.error({ err: error, runId: lease.runId, question: question.kind }, 'a question could not be answered');
      return refused('the node could not answer; its log tells why');
    } finally {
      this.#answering.delete(id);
    }
  }

  private async changesOf({ key, directory }: Attempt, max: number): Promise<NodeAnswer | null> {
    // A sandbox that waited with its root has it under its own name.
    for (const name of new Set([key, directory.sandbox])) {
      const found = await this.parts.snapshotter.changes(name, max);
      if (found === null) continue;
      const changes = bounded(found.changes);
      return { kind: 'changes', changes, truncated: found.truncated || changes.length < found.changes.length };
    }
    return null;
  }
}

/** The first of them, as far as an answer goes. */
function bounded(changes: readonly Change[]): Change[] {
  const kept: Change[] = [];
  let bytes = 0;
  for (const change of changes) {
    bytes += Buffer.byteLength(change.path);
    if (bytes > answerBytesMax) break;
    kept.push(change);
  }
  return kept;
}

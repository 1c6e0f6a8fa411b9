import type { TenantRow } from '@berth/store';
import { changesMax, type RunDiff } from '@berth/wire';
import { Injectable } from '@nestjs/common';
import { AskRun } from './ask-run.js';

const timeoutMs = 30_000;

/** Reads what a run's container wrote. */
@Injectable()
export class ReadChanges {
  constructor(private readonly askRun: AskRun) {}

  /** Null when there is no such run; throws as AskRun does. */
  async execute(tenant: TenantRow, runId: string, signal: AbortSignal): Promise<RunDiff | null> {
    const answer = await this.askRun.execute(tenant, runId, 'changes', async () => ({ kind: 'changes', max: changesMax }), {
      timeoutMs,
      signal,
    });
    return answer === null ? null : { changes: answer.changes, truncated: answer.truncated };
  }
}

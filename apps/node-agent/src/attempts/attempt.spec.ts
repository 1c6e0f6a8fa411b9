import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { defaultSpec } from '../testing/default-spec.js';
import { Attempt, type StepExecutors } from './attempt.js';
import { AttemptDirectory } from './attempt-directory.js';
import { AttemptFailure } from './attempt-failure.js';
import type { AttemptFacts, Outcome, StepKind } from './steps.js';

const exit = {
  exitCode: 0,
  signal: null,
  oomKilled: false,
  stoppedBy: null,
  startedAt: null,
  finishedAt: '2026-01-01T00:00:00Z',
  peakMemoryBytes: null,
  cpuTimeUs: null,
  usage: null,
  logBytes: 0,
  logDroppedBytes: 0,
};
const assignment = {
  runId: 'run_01k00000000000000000000000',
  attempt: 1,
  epoch: 1,
  tenant: 'test',
  image: { reference: 'r/i', digest: `sha256:${'0'.repeat(64)}` },
  spec: defaultSpec,
};

/** Executors that succeed at once and note what they did, but for those given. */
function scripted(special: Partial<StepExecutors>, facts: Partial<AttemptFacts> = {}) {
  const done: StepKind[] = [];
  const outcomes: Outcome[] = [];
  const simple: StepExecutors = {
    recordAssignment: async () => ({ recorded: true }),
    reportPreparing: async () => ({ announced: true }),
    awaitAssignment: async () => ({ assigned: true }),
    pullImage: async () => ({ imagePulled: true }),
    prepareSnapshot: async () => ({ snapshot: 'mounted' }),
    writeBundle: async () => ({ bundleWritten: true }),
    startContainer: async () => ({ container: 'running' }),
    reportRunning: async () => ({ runningReported: true }),
    stopContainer: async (step) => ({ stopGraceMs: step.graceMs }),
    awaitExit: async () => ({ container: 'exited', exit }),
    reportOutcome: async (step) => {
      outcomes.push(step.outcome);
      return { outcome: 'spooled' };
    },
    deleteContainer: async () => ({ container: 'deleted' }),
    removeSnapshot: async () => ({ snapshot: 'removed' }),
    awaitLogs: async () => ({ logsShipped: true }),
    awaitAcknowledgement: async () => ({ outcome: 'acknowledged' }),
    removeDirectory: async () => ({ removed: true }),
  };
  const executors = Object.fromEntries(
    Object.entries({ ...simple, ...special }).map(([kind, execute]) => [
      kind,
      (...args: Parameters<typeof execute>) => {
        done.push(kind as StepKind);
        return (execute as (...args: unknown[]) => Promise<object>)(...args);
      },
    ]),
  ) as unknown as StepExecutors;
  const attempt = new Attempt(assignment, new AttemptDirectory('/nowhere', 'key'), executors, pino({ enabled: false }), facts);
  return { attempt, done, outcomes };
}

const until = (signal: AbortSignal) => sleep(10_000, {}, { signal });
const never = new AbortController().signal;

describe('an attempt', () => {
  it('is carried from its assignment to nothing', async () => {
    const { attempt, outcomes } = scripted({});
    await attempt.run(never);
    expect(attempt.facts.removed).toBe(true);
    expect(outcomes).toEqual([{ kind: 'exited', exit }]);
  });

  it('ends with the failure of a step before its start', async () => {
    const refused = AttemptFailure.refused('no such user');
    const { attempt, outcomes, done } = scripted({ writeBundle: () => Promise.reject(refused) });
    await attempt.run(never);
    expect(outcomes).toEqual([{ kind: 'failed', failure: refused.failure, retryable: false }]);
    expect(done).not.toContain('startContainer');
  });

  it("is not the tenant's fault when the node fails", async () => {
    const { attempt, outcomes } = scripted({ prepareSnapshot: () => Promise.reject(new Error('disk full at /srv/berth')) });
    await attempt.run(never);
    expect(outcomes).toMatchObject([{ kind: 'failed', retryable: true, failure: { blame: 'platform' } }]);
    expect(JSON.stringify(outcomes)).not.toContain('/srv');
  });

  it('tries a step after its start again until it succeeds', async () => {
    let failures = 2;
    const { attempt, done } = scripted({
      removeSnapshot: async () => {
        if (failures-- > 0) throw new Error('busy');
        return { snapshot: 'removed' };
      },
    });
    await attempt.run(never);
    expect(done.filter((kind) => kind === 'removeSnapshot')).toHaveLength(3);
    expect(attempt.facts.removed).toBe(true);
  });

  it('gives a wait up when something else is wanted', async () => {
    const { attempt, outcomes, done } = scripted({ pullImage: async (_, __, signal) => until(signal) });
    const run = attempt.run(never);
    await sleep(20);
    attempt.stop({ kind: 'stop', graceMs: 0 });
    await run;
    expect(outcomes).toEqual([{ kind: 'stopped' }]);
    expect(done).not.toContain('startContainer');
  });

  it('hears of its assignment while it does something else', async () => {
    const { attempt, done } = scripted(
      {
        recordAssignment: async () => {
          await sleep(20);
          return { recorded: true };
        },
      },
      { assigned: false },
    );
    const run = attempt.run(never);
    attempt.reassign('Bearer x');
    await run;
    expect(done).not.toContain('awaitAssignment');
    expect(attempt.pullAuthorization).toBe('Bearer x');
  });

  it('does not change its mind once it has ended: its report and its log still count', async () => {
    const { attempt, done } = scripted({
      awaitLogs: async (_, self) => {
        self.stop({ kind: 'forget' });
        return { logsShipped: true };
      },
    });
    await attempt.run(never);
    expect(done).toContain('awaitAcknowledgement');
  });

  it('stays where it is when the agent pauses, but for what a container that ended leaves on the machine', async () => {
    const paused = new AbortController();
    const { attempt } = scripted({ awaitExit: async (_, __, signal) => until(signal) });
    const run = attempt.run(paused.signal);
    await sleep(20);
    paused.abort();
    await run;
    expect(attempt.facts).toMatchObject({ container: 'running', snapshot: 'mounted', removed: false });

    const ending = new AbortController();
    const ended = scripted({
      awaitExit: async () => {
        ending.abort();
        return { container: 'exited', exit };
      },
    });
    await ended.attempt.run(ending.signal);
    expect(ended.attempt.facts).toMatchObject({ container: 'deleted', snapshot: 'removed', outcome: 'spooled', removed: false });
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planSteps } from './plan-steps.js';
import { type AttemptFacts, type Step, type StepKind, type Target, untouched } from './steps.js';

const run: Target = { kind: 'run' };
const stop: Target = { kind: 'stop', graceMs: 1000 };
const forget: Target = { kind: 'forget' };
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
const failure = { kind: 'failed', failure: { code: 'internal', message: '', blame: 'platform' }, retryable: true } as const;
const kinds = (facts: Partial<AttemptFacts>, target: Target = run): StepKind[] =>
  planSteps({ ...untouched, ...facts }, target).map(({ kind }) => kind);

const prepared: Partial<AttemptFacts> = { recorded: true, announced: true, imagePulled: true, snapshot: 'mounted', bundleWritten: true };
const ending: StepKind[] = ['deleteContainer', 'removeSnapshot', 'awaitLogs', 'awaitAcknowledgement', 'removeDirectory'];

describe('the steps of an attempt', () => {
  it('lead from an assignment through a container to nothing', () => {
    expect(kinds({})).toEqual([
      'recordAssignment',
      'reportPreparing',
      'pullImage',
      'prepareSnapshot',
      'writeBundle',
      'startContainer',
      'reportRunning',
      'awaitExit',
      ...ending,
    ]);
  });

  it('wait for the assignment when its credential died with an earlier agent', () => {
    expect(kinds({ assigned: false }).slice(0, 3)).toEqual(['recordAssignment', 'awaitAssignment', 'reportPreparing']);
  });

  it('stop before the start without a start', () => {
    expect(kinds({ recorded: true, announced: true }, stop)).toEqual(['reportOutcome', ...ending]);
    expect(planSteps({ ...untouched, ...prepared }, stop)[0]).toEqual({ kind: 'reportOutcome', outcome: { kind: 'stopped' } });
  });

  it('stop a running container once, and again only sooner', () => {
    const running = { ...prepared, container: 'running', runningReported: true } as const;
    expect(planSteps({ ...untouched, ...running }, stop)[0]).toEqual({ kind: 'stopContainer', graceMs: 1000, report: true });
    expect(kinds({ ...running, stopGraceMs: 1000 }, stop)[0]).toBe('awaitExit');
    expect(planSteps({ ...untouched, ...running, stopGraceMs: 5000 }, stop)[0]).toEqual({
      kind: 'stopContainer',
      graceMs: 1000,
      report: false,
    });
  });

  it('kill a forgotten container, and tell nobody', () => {
    const running = { ...prepared, container: 'running', runningReported: true } as const;
    expect(planSteps({ ...untouched, ...running }, forget)[0]).toEqual({ kind: 'stopContainer', graceMs: 0, report: false });
    expect(kinds({ ...running, container: 'exited', exit }, forget)).toEqual(['deleteContainer', 'removeSnapshot', 'removeDirectory']);
  });

  it("report the kernel's word, whatever was asked for", () => {
    for (const target of [run, stop]) {
      expect(planSteps({ ...untouched, ...prepared, container: 'exited', exit, verdict: failure }, target)[0]).toEqual({
        kind: 'reportOutcome',
        outcome: { kind: 'exited', exit },
      });
    }
  });

  it('report a failure and clean up after it', () => {
    expect(planSteps({ ...untouched, recorded: true, verdict: failure }, run)[0]).toEqual({ kind: 'reportOutcome', outcome: failure });
    expect(kinds({ recorded: true, verdict: failure })).toEqual(['reportOutcome', ...ending]);
  });

  it('are none once the attempt is removed', () => {
    expect(kinds({ removed: true })).toEqual([]);
  });
});

const anyFacts: fc.Arbitrary<AttemptFacts> = fc
  .record({
    recorded: fc.boolean(),
    announced: fc.boolean(),
    assigned: fc.boolean(),
    imagePulled: fc.boolean(),
    snapshot: fc.constantFrom('none' as const, 'mounted' as const, 'removed' as const),
    bundleWritten: fc.boolean(),
    container: fc.constantFrom('none' as const, 'running' as const, 'exited' as const, 'deleted' as const),
    runningReported: fc.boolean(),
    stopGraceMs: fc.option(fc.nat(2000)),
    exit: fc.constantFrom(null, exit),
    verdict: fc.constantFrom(null, failure, { kind: 'stopped' as const }),
    outcome: fc.constantFrom('none' as const, 'spooled' as const, 'acknowledged' as const),
    logsShipped: fc.boolean(),
    removed: fc.boolean(),
  })
  .map((facts) => ({
    ...facts,
    // What cannot be: a container that ended without the kernel's word or a failure, a running one that has both.
    verdict: facts.container === 'exited' && facts.exit === null ? failure : facts.container === 'running' ? null : facts.verdict,
    exit: facts.container === 'running' || facts.container === 'none' ? null : facts.exit,
    outcome: facts.container === 'running' ? 'none' : facts.container === 'deleted' && facts.outcome === 'none' ? 'spooled' : facts.outcome,
  }));
/** Minds change in one direction: an attempt that is to stop is never to run again, and one that is forgotten stays so. */
const anyTargets = fc
  .array(fc.constantFrom(run, stop, forget), { minLength: 1, maxLength: 30 })
  .map((targets) => targets.sort((a, b) => [run, stop, forget].indexOf(a) - [run, stop, forget].indexOf(b)));

/** What a step makes true, when it succeeds. */
function done(step: Step): Partial<AttemptFacts> {
  switch (step.kind) {
    case 'recordAssignment':
      return { recorded: true };
    case 'reportPreparing':
      return { announced: true };
    case 'awaitAssignment':
      return { assigned: true };
    case 'pullImage':
      return { imagePulled: true };
    case 'prepareSnapshot':
      return { snapshot: 'mounted' };
    case 'writeBundle':
      return { bundleWritten: true };
    case 'startContainer':
      return { container: 'running' };
    case 'reportRunning':
      return { runningReported: true };
    case 'stopContainer':
      return { stopGraceMs: step.graceMs };
    case 'awaitExit':
      return { container: 'exited', exit };
    case 'reportOutcome':
      return { outcome: 'spooled' };
    case 'deleteContainer':
      return { container: 'deleted' };
    case 'removeSnapshot':
      return { snapshot: 'removed' };
    case 'awaitLogs':
      return { logsShipped: true };
    case 'awaitAcknowledgement':
      return { outcome: 'acknowledged' };
    case 'removeDirectory':
      return { removed: true };
  }
}

describe('from any facts, with any changes of mind', () => {
  it('the steps end, start at most one container, and take nothing from under it', () => {
    fc.assert(
      fc.property(anyFacts, anyTargets, (start, targets) => {
        let facts = start;
        let starts = 0;
        for (let index = 0; !facts.removed; index++) {
          expect(index).toBeLessThan(40);
          const target = targets[Math.min(index, targets.length - 1)] ?? run;
          const [step] = planSteps(facts, target);
          if (step === undefined) throw new Error('no way on');
          if (step.kind === 'startContainer') {
            starts++;
            expect(target.kind).toBe('run');
            expect([facts.container, facts.snapshot, facts.bundleWritten, facts.recorded, facts.assigned]).toEqual([
              'none',
              'mounted',
              true,
              true,
              true,
            ]);
          }
          if (step.kind === 'removeSnapshot') expect(facts.container).toBe('deleted');
          if (step.kind === 'removeDirectory' && target.kind !== 'forget') {
            expect([facts.outcome, facts.logsShipped]).toEqual(['acknowledged', true]);
          }
          if (step.kind === 'reportOutcome') expect(facts.outcome).toBe('none');
          facts = { ...facts, ...done(step) };
        }
        expect(starts).toBeLessThanOrEqual(1);
      }),
      { numRuns: 2000 },
    );
  });
});

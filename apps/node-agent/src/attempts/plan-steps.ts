/*
 * What remains to be done for an attempt, from what is true and what is wanted. Pure: the same facts and target give the same steps.
 *
 * INVARIANTS
 *   - what a restarted agent needs is on disk before it is needed: the assignment before anything else exists;
 *   - a container starts only for the target `run`, after its snapshot and its bundle, and at most once;
 *   - the report of an end follows the end, never foretells it; what the kernel said wins over what was asked for;
 *   - nothing is taken from under a container: its snapshot goes after its processes, its directory after its report and its logs;
 *   - there is always a way to the end: from any facts, doing the steps in turn leads to `removed`.
 */
import type { AttemptFacts, Outcome, Step, Target } from './steps.js';

/** The steps that lead from `facts` to the end of the attempt, next one first; none once it is removed. */
export function planSteps(facts: AttemptFacts, target: Target): readonly Step[] {
  if (facts.removed) return [];
  return [...(isOver(facts) ? [] : liveSteps(facts, target)), ...endSteps(facts, target)];
}

/** Nothing more will happen in the container, and nothing more has to be said about it. */
function isOver(facts: AttemptFacts): boolean {
  return facts.outcome !== 'none';
}

function liveSteps(facts: AttemptFacts, target: Target): readonly Step[] {
  if (facts.container === 'running') return runningSteps(facts, target);
  if (target.kind === 'forget') return [];
  if (facts.exit !== null) return [reportOutcome({ kind: 'exited', exit: facts.exit })];
  if (facts.verdict !== null) return [reportOutcome(facts.verdict)];
  if (target.kind === 'stop') return [reportOutcome({ kind: 'stopped' })];
  return startingSteps(facts);
}

function startingSteps(facts: AttemptFacts): readonly Step[] {
  const steps: Step[] = [];
  if (!facts.recorded) steps.push({ kind: 'recordAssignment' });
  if (!facts.assigned) steps.push({ kind: 'awaitAssignment' });
  if (!facts.announced) steps.push({ kind: 'reportPreparing' });
  if (!facts.imagePulled) steps.push({ kind: 'pullImage' });
  if (facts.snapshot !== 'mounted') steps.push({ kind: 'prepareSnapshot' });
  if (!facts.bundleWritten) steps.push({ kind: 'writeBundle' });
  steps.push({ kind: 'startContainer' }, { kind: 'reportRunning' }, { kind: 'awaitExit' });
  return steps;
}

function runningSteps(facts: AttemptFacts, target: Target): readonly Step[] {
  const steps: Step[] = [];
  if (!facts.runningReported && target.kind !== 'forget') steps.push({ kind: 'reportRunning' });
  const graceMs = target.kind === 'stop' ? target.graceMs : target.kind === 'forget' ? 0 : null;
  if (graceMs !== null && (facts.stopGraceMs === null || graceMs < facts.stopGraceMs)) {
    steps.push({ kind: 'stopContainer', graceMs, report: target.kind === 'stop' && facts.stopGraceMs === null });
  }
  steps.push({ kind: 'awaitExit' });
  return steps;
}

function endSteps(facts: AttemptFacts, target: Target): readonly Step[] {
  const heard = target.kind !== 'forget';
  const steps: Step[] = [];
  if (facts.container !== 'deleted') steps.push({ kind: 'deleteContainer' });
  if (facts.snapshot !== 'removed') steps.push({ kind: 'removeSnapshot' });
  if (heard && !facts.logsShipped) steps.push({ kind: 'awaitLogs' });
  if (heard && facts.outcome !== 'acknowledged') steps.push({ kind: 'awaitAcknowledgement' });
  steps.push({ kind: 'removeDirectory' });
  return steps;
}

function reportOutcome(outcome: Outcome): Step {
  return { kind: 'reportOutcome', outcome };
}

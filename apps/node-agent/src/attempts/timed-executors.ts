import type { AgentMetrics } from '../metrics.js';
import type { StepExecutors } from './attempt.js';
import type { StepKind } from './steps.js';

/** Steps whose time tells how fast the node is; the others wait for somebody. */
const timed: ReadonlySet<StepKind> = new Set<StepKind>([
  'recordAssignment',
  'pullImage',
  'prepareSnapshot',
  'writeBundle',
  'startContainer',
  'deleteContainer',
  'removeSnapshot',
]);

/** The same executors; each step's time is counted under its kind. */
export function timedExecutors(executors: StepExecutors, metrics: AgentMetrics): StepExecutors {
  const entries = Object.entries(executors).map(([kind, execute]) => {
    if (!timed.has(kind as StepKind)) return [kind, execute];
    return [
      kind,
      async (...args: Parameters<typeof execute>) => {
        const stop = metrics.stepSeconds.startTimer({ phase: kind });
        try {
          return await (execute as (...args: unknown[]) => Promise<unknown>)(...args);
        } finally {
          stop();
        }
      },
    ];
  });
  return Object.fromEntries(entries) as StepExecutors;
}

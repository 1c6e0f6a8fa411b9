import type { RunSpec } from '@berth/wire';
import { AttemptFailure } from '../attempts/attempt-failure.js';
import type { NodeServices } from '../attempts/node-services.js';
import type { NodeRuntime } from './node-runtimes.js';

/** The runtime that a run asks for. Throws AttemptFailure when this node has it no more: another may. */
export function runtimeOf(node: Pick<NodeServices, 'runtimes'>, { runtimeClass }: Pick<RunSpec, 'runtimeClass'>): NodeRuntime {
  const runtime = node.runtimes.get(runtimeClass);
  if (runtime !== undefined) return runtime;
  throw new AttemptFailure({ code: 'startFailed', message: `the node has no runtime ${runtimeClass}`, blame: 'platform' }, true);
}

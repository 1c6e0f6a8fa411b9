import { AppError } from '@berth/core';
import type { CreateRunRequest, RunLimits, RunSpec } from '@berth/wire';
import type { Config } from '../config.js';

/**
 * The request with every default filled in, the tenant's before the operator's. Refuses what exceeds the tenant's maxima of one run. Refuses, as `invalidRequest`, a grace that would let a lost container outlive
 * its replacement: one that may be retried elsewhere must be dead between T_stop and T_lost (I2).
 */
export function completeSpec(
  request: CreateRunRequest,
  { defaults, lease }: Pick<Config, 'defaults' | 'lease'>,
  runLimits: RunLimits = { defaults: {}, maxima: {} },
): RunSpec {
  const maxAttempts = request.maxAttempts ?? 1;
  const onNodeLost = request.onNodeLost ?? (maxAttempts > 1 ? 'retry' : 'wait');
  const stopGraceMs = request.stopGraceMs ?? defaults.stopGraceMs;
  const graceMaxMs = retryGraceMaxMs(lease);
  if (onNodeLost === 'retry' && stopGraceMs > graceMaxMs) {
    const message = `must be at most ${graceMaxMs} when onNodeLost is "retry"; shorten it, or choose "wait"`;
    throw new AppError('invalidRequest', `stopGraceMs: ${message}`, { errors: [{ field: 'stopGraceMs', message }] });
  }
  const own = runLimits.defaults;
  const memoryBytes = request.resources?.memoryBytes ?? own.memoryBytes ?? defaults.resources.memoryBytes;
  const diskBytes = request.resources?.diskBytes ?? own.diskBytes;
  const spec: RunSpec = {
    ...request,
    env: request.env ?? {},
    init: request.init ?? false,
    readOnlyRootfs: request.readOnlyRootfs ?? false,
    network: request.network ?? 'none',
    runtimeClass: request.runtimeClass ?? 'berth',
    timeoutMs: request.timeoutMs ?? own.timeoutMs ?? defaults.timeoutMs,
    stopGraceMs,
    maxAttempts,
    onQuota: request.onQuota ?? 'queue',
    onNodeLost,
    priority: request.priority ?? 50,
    labels: request.labels ?? {},
    resources: {
      cpuMillis: request.resources?.cpuMillis ?? own.cpuMillis ?? defaults.resources.cpuMillis,
      memoryBytes,
      pids: request.resources?.pids ?? own.pids ?? defaults.resources.pids,
      shmBytes: request.resources?.shmBytes ?? Math.min(defaults.resources.shmBytes, memoryBytes),
      logBytes: request.resources?.logBytes ?? own.logBytes ?? defaults.resources.logBytes,
      ...(diskBytes === undefined ? {} : { diskBytes }),
    },
  };
  refuseBeyond(spec, runLimits.maxima);
  return spec;
}

/** Refuses, as `quotaNeverFits`, a run that exceeds what one run of the tenant may have. */
function refuseBeyond(spec: RunSpec, maxima: RunLimits['maxima']): void {
  const asked = { ...spec.resources, timeoutMs: spec.timeoutMs };
  for (const [dimension, limit] of Object.entries(maxima) as [keyof RunLimits['maxima'], number][]) {
    const requested = asked[dimension];
    if (requested === undefined || requested <= limit) continue;
    const detail = `${dimension}: ${requested} requested, one run of this tenant may have ${limit}`;
    throw new AppError('quotaNeverFits', detail, { dimension, limit, used: 0, requested });
  }
}

/** How much of the time between T_stop and T_lost a stop may take; the rest is margin for slow clocks and a loaded machine. */
export function retryGraceMaxMs(lease: Config['lease']): number {
  return Math.floor(((lease.lostAfterMs - lease.stopAfterMs) * 5) / 6);
}

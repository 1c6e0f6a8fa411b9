import { AppError } from '@berth/core';
import type { CreateRunRequest, RunSpec } from '@berth/wire';
import type { Config } from '../config.js';

/**
 * The request with every default of the operator filled in. Refuses, as `invalidRequest`, a grace that would let a lost container outlive
 * its replacement: one that may be retried elsewhere must be dead between T_stop and T_lost (I2).
 */
export function completeSpec(request: CreateRunRequest, { defaults, lease }: Pick<Config, 'defaults' | 'lease'>): RunSpec {
  const maxAttempts = request.maxAttempts ?? 1;
  const onNodeLost = request.onNodeLost ?? (maxAttempts > 1 ? 'retry' : 'wait');
  const stopGraceMs = request.stopGraceMs ?? defaults.stopGraceMs;
  const graceMaxMs = retryGraceMaxMs(lease);
  if (onNodeLost === 'retry' && stopGraceMs > graceMaxMs) {
    const message = `must be at most ${graceMaxMs} when onNodeLost is "retry"; shorten it, or choose "wait"`;
    throw new AppError('invalidRequest', `stopGraceMs: ${message}`, { errors: [{ field: 'stopGraceMs', message }] });
  }
  const memoryBytes = request.resources?.memoryBytes ?? defaults.resources.memoryBytes;
  return {
    ...request,
    env: request.env ?? {},
    init: request.init ?? false,
    readOnlyRootfs: request.readOnlyRootfs ?? false,
    network: request.network ?? 'none',
    runtimeClass: request.runtimeClass ?? 'berth',
    timeoutMs: request.timeoutMs ?? defaults.timeoutMs,
    stopGraceMs,
    maxAttempts,
    onQuota: request.onQuota ?? 'queue',
    onNodeLost,
    priority: request.priority ?? 50,
    labels: request.labels ?? {},
    resources: {
      cpuMillis: request.resources?.cpuMillis ?? defaults.resources.cpuMillis,
      memoryBytes,
      pids: request.resources?.pids ?? defaults.resources.pids,
      shmBytes: request.resources?.shmBytes ?? Math.min(defaults.resources.shmBytes, memoryBytes),
    },
  };
}

/** How much of the time between T_stop and T_lost a stop may take; the rest is margin for slow clocks and a loaded machine. */
export function retryGraceMaxMs(lease: Config['lease']): number {
  return Math.floor(((lease.lostAfterMs - lease.stopAfterMs) * 5) / 6);
}

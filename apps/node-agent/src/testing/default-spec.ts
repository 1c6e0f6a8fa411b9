import type { RunSpec } from '@berth/wire';

/** The host under which test images are named. */
export const registryHost = 'registry.test';

/** A run that asks for little. */
export const defaultSpec: RunSpec = {
  image: `${registryHost}/test/userland`,
  env: {},
  resources: { cpuMillis: 1000, memoryBytes: 64 * 1024 * 1024, pids: 64, shmBytes: 1024 * 1024 },
  readOnlyRootfs: false,
  init: false,
  network: 'none',
  runtimeClass: 'berth',
  timeoutMs: 60_000,
  stopGraceMs: 10_000,
  maxAttempts: 1,
  onQuota: 'queue',
  onNodeLost: 'wait',
  priority: 50,
  labels: {},
};

import { budgetMonth, type Role, type RunState, rateMinute, type Scope } from '@berth/core';
import type { Member, Prisma, ApiKey as StoredApiKey, Node as StoredNode, Tenant as StoredTenant } from './generated/client.js';
import type { ApiKeyRow, AttemptRow, FailureRow, NodeRow, RunEventRow, RunLimitsRow, RunRow, TenantRow } from './ports.js';

/* What Prisma reads, as the ports' rows. */

/** What must be read with a run for its row. */
export const runRelations = {
  tenant: { select: { name: true } },
  attempts: { orderBy: { number: 'asc' } },
} as const satisfies Prisma.RunInclude;
type StoredRun = Prisma.RunGetPayload<{ include: typeof runRelations }>;

/** A tenant as it stands at `now`: the budgets of an older month and the submissions of an older minute count as unused. */
export function tenantRow(tenant: StoredTenant, now: Date): TenantRow {
  const isThisMonth = tenant.budgetMonth >= budgetMonth(now);
  const runLimits = tenant.runLimits as unknown as Partial<RunLimitsRow>;
  return {
    id: tenant.id,
    name: tenant.name,
    quota: {
      concurrentRuns: tenant.quotaConcurrentRuns,
      cpuMillis: tenant.quotaCpuMillis,
      memoryBytes: Number(tenant.quotaMemoryBytes),
      diskBytes: Number(tenant.quotaDiskBytes),
      pids: Number(tenant.quotaPids),
      logBytes: Number(tenant.quotaLogBytes),
      monthlyCpuMs: Number(tenant.quotaMonthlyCpuMs),
      monthlyMemoryMibSeconds: Number(tenant.quotaMonthlyMemoryMibSeconds),
      queuedRuns: Number(tenant.quotaQueuedRuns),
      submissionsPerMinute: Number(tenant.quotaSubmissionsPerMinute),
    },
    used: {
      concurrentRuns: tenant.usedConcurrentRuns,
      cpuMillis: tenant.usedCpuMillis,
      memoryBytes: Number(tenant.usedMemoryBytes),
      diskBytes: Number(tenant.usedDiskBytes),
      pids: Number(tenant.usedPids),
      logBytes: Number(tenant.usedLogBytes),
      monthlyCpuMs: isThisMonth ? Number(tenant.usedMonthlyCpuMs) : 0,
      monthlyMemoryMibSeconds: isThisMonth ? Number(tenant.usedMonthlyMemoryMibSeconds) : 0,
      queuedRuns: tenant.waitingRuns,
      submissionsPerMinute: tenant.rateMinute >= rateMinute(now) ? tenant.rateSubmissions : 0,
    },
    runLimits: { defaults: runLimits.defaults ?? {}, maxima: runLimits.maxima ?? {} },
    weight: tenant.weight,
    requireDigest: tenant.requireDigest,
    features: tenant.features,
    retainRunsMs: tenant.retainRunsMs === null ? null : Number(tenant.retainRunsMs),
    createdAt: tenant.createdAt,
  };
}

export function apiKeyRow(key: StoredApiKey & { member: Member | null }): ApiKeyRow {
  return {
    id: key.id,
    tenantId: key.tenantId,
    name: key.name,
    role: key.role as Role,
    scopes: key.scopes as Scope[],
    memberId: key.memberId,
    memberRole: key.member === null ? null : (key.member.role as Role),
    source: key.source as ApiKeyRow['source'],
    createdAt: key.createdAt,
    expiresAt: key.expiresAt,
    revokedAt: key.revokedAt,
  };
}

export function nodeRow(node: StoredNode): NodeRow {
  return {
    id: node.id,
    name: node.name,
    state: node.state as NodeRow['state'],
    cpuMillis: node.cpuMillis,
    memoryBytes: Number(node.memoryBytes),
    diskBytes: Number(node.diskBytes),
    reserved: {
      cpuMillis: node.reservedCpuMillis,
      memoryBytes: Number(node.reservedMemoryBytes),
      diskBytes: Number(node.reservedDiskBytes),
      runs: node.reservedRuns,
    },
    agentVersion: node.agentVersion,
    kernel: node.kernel,
    architecture: node.architecture,
    cgroupMode: node.cgroupMode as NodeRow['cgroupMode'],
    features: node.features,
    disk: node.disk,
    lastHeartbeatAt: node.lastHeartbeatAt,
    createdAt: node.createdAt,
  };
}

export function runRow(run: StoredRun): RunRow {
  return {
    id: run.id,
    tenantId: run.tenantId,
    tenantName: run.tenant.name,
    state: run.state as RunState,
    waitingFor: run.waitingFor as RunRow['waitingFor'],
    waitingReason: run.waitingReason,
    image: run.image,
    digest: run.digest,
    spec: run.spec,
    epoch: run.epoch,
    exitCode: run.exitCode,
    signal: run.signal,
    failure: run.failure as FailureRow | null,
    cancelRequested: run.cancelRequested,
    attempts: run.attempts.map(attemptRow),
    createdAt: run.createdAt,
    startedAt: run.startedAt,
    finishedAt: run.finishedAt,
  };
}

function attemptRow(attempt: StoredRun['attempts'][number]): AttemptRow {
  return {
    number: attempt.number,
    epoch: attempt.epoch,
    nodeId: attempt.nodeId,
    placedAt: attempt.placedAt,
    startedAt: attempt.startedAt,
    finishedAt: attempt.finishedAt,
    exitCode: attempt.exitCode,
    signal: attempt.signal,
    oomKilled: attempt.oomKilled,
    failure: attempt.failure as FailureRow | null,
    peakMemoryBytes: numberOrNull(attempt.peakMemoryBytes),
    cpuTimeUs: numberOrNull(attempt.cpuTimeUs),
    usage: attempt.usage,
    logBytes: numberOrNull(attempt.logBytes),
  };
}

export function runEventRow(event: Prisma.RunEventGetPayload<object>): RunEventRow {
  return {
    id: event.id,
    runId: event.runId,
    type: event.type,
    state: event.state as RunState,
    attempt: event.attempt,
    message: event.message,
    at: event.at,
  };
}

function numberOrNull(value: bigint | null): number | null {
  return value === null ? null : Number(value);
}

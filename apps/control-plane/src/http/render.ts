import { type Explanation, grantedScopes } from '@berth/core';
import type { ApiKeyRow, AttemptRow, AuditEntryRow, MemberRow, NodeRow, RunEventRow, RunRow, TenantRow } from '@berth/store';
import type {
  AuditEntry,
  apiKey,
  CgroupUsage,
  Member,
  Node,
  Quote,
  Run,
  RunEvent,
  RunSpec,
  Tenant,
  Explanation as WireExplanation,
} from '@berth/wire';
import type { z } from 'zod';
import type { QuotedRun } from '../admission/quote-run.js';

/* Rows of the store as the API shows them: times as RFC 3339, nothing that is for us alone. */

const time = (date: Date) => date.toISOString();
const timeOrNull = (date: Date | null) => date?.toISOString() ?? null;

export function renderRun(row: RunRow): Run {
  return {
    id: row.id,
    tenant: row.tenantName,
    state: row.state,
    waitingFor: row.waitingFor,
    waitingReason: row.waitingReason,
    image: row.image,
    digest: row.digest,
    spec: row.spec as RunSpec,
    exitCode: row.exitCode,
    signal: row.signal,
    failure: row.failure,
    cancelRequested: row.cancelRequested,
    attempts: row.attempts.map(renderAttempt),
    createdAt: time(row.createdAt),
    startedAt: timeOrNull(row.startedAt),
    finishedAt: timeOrNull(row.finishedAt),
  };
}

function renderAttempt(row: AttemptRow): Run['attempts'][number] {
  return {
    number: row.number,
    epoch: row.epoch,
    nodeId: row.nodeId,
    placedAt: time(row.placedAt),
    startedAt: timeOrNull(row.startedAt),
    finishedAt: timeOrNull(row.finishedAt),
    exitCode: row.exitCode,
    signal: row.signal,
    oomKilled: row.oomKilled,
    failure: row.failure,
    usage: renderUsage(row),
  };
}

function renderUsage({ peakMemoryBytes, cpuTimeUs, usage }: AttemptRow): Run['attempts'][number]['usage'] {
  const counted = (usage ?? {}) as Partial<CgroupUsage>;
  const toMs = (us: number | null | undefined): number | null => (typeof us === 'number' ? us / 1000 : null);
  return {
    peakMemoryBytes,
    cpuTimeMs: toMs(cpuTimeUs),
    cpuUserMs: toMs(counted.cpuUserUs),
    cpuSystemMs: toMs(counted.cpuSystemUs),
    cpuPeriods: counted.cpuPeriods ?? null,
    cpuThrottledPeriods: counted.cpuThrottledPeriods ?? null,
    cpuThrottledMs: toMs(counted.cpuThrottledUs),
    oomKills: counted.oomKills ?? null,
    readBytes: counted.readBytes ?? null,
    writtenBytes: counted.writtenBytes ?? null,
    peakPids: counted.peakPids ?? null,
  };
}

export function renderExplanation(runId: string, state: string, explained: Explanation): WireExplanation {
  return { runId, state: state as WireExplanation['state'], ...renderStanding(explained) };
}

export function renderQuote({ explanation, amount, ...rest }: QuotedRun): Quote {
  const { monthlyCpuMs, monthlyMemoryMibSeconds } = amount;
  return { ...rest, ...renderStanding(explanation), cost: { monthlyCpuMs, monthlyMemoryMibSeconds } };
}

function renderStanding({ estimatedStartAt, shortages, nodes, remedies, ...rest }: Explanation): Omit<WireExplanation, 'runId' | 'state'> {
  return {
    ...rest,
    shortages: [...shortages],
    nodes: nodes === null ? null : { fitting: nodes.fitting, refusals: [...nodes.refusals] },
    remedies: [...remedies],
    estimatedStartAt: timeOrNull(estimatedStartAt),
  };
}

export function renderEvent(row: RunEventRow): RunEvent {
  return {
    id: String(row.id),
    runId: row.runId,
    type: row.type as RunEvent['type'],
    state: row.state,
    attempt: row.attempt,
    message: row.message,
    at: time(row.at),
  };
}

export function renderTenant(row: TenantRow): Tenant {
  const { id, name, quota, used, runLimits, weight, requireDigest, features, retainRunsMs, createdAt } = row;
  const policy = { runLimits, weight, requireDigest, features: features as Tenant['features'], retainRunsMs };
  return { id, name, quota, used, ...policy, createdAt: time(createdAt) };
}

export function renderKey(row: ApiKeyRow): z.infer<typeof apiKey> {
  const { id, name, role, memberId, createdAt, expiresAt, revokedAt } = row;
  const scopes = grantedScopes(row.tenantId === null ? 'operator' : 'tenant', row);
  const times = { createdAt: time(createdAt), expiresAt: timeOrNull(expiresAt), revokedAt: timeOrNull(revokedAt) };
  return { id, name, role, scopes, memberId, ...times };
}

export function renderMember({ id, name, role, createdAt }: MemberRow): Member {
  return { id, name, role, createdAt: time(createdAt) };
}

/** An entry as `reader` may see it: to a tenant, the operator's keys have neither ids nor names. */
export function renderAuditEntry(row: AuditEntryRow, reader: 'tenant' | 'operator'): AuditEntry {
  const { tenantId, action, target, details } = row;
  const { keyId, name, owner, requestId } = row.actor;
  const isHidden = reader === 'tenant' && owner === 'operator';
  return {
    id: String(row.id),
    at: time(row.at),
    tenantId,
    actor: isHidden ? { owner, keyId: null, name: 'operator' } : { owner, keyId, name },
    requestId: isHidden ? null : requestId,
    action,
    target,
    details,
  };
}

export function renderNode(row: NodeRow): Node {
  const {
    id,
    name,
    state,
    cpuMillis,
    memoryBytes,
    diskBytes,
    reserved,
    agentVersion,
    kernel,
    cgroupMode,
    features,
    disk,
    lastHeartbeatAt,
    createdAt,
  } = row;
  return {
    id,
    name,
    state,
    cpuMillis,
    memoryBytes,
    diskBytes,
    reserved,
    agentVersion,
    kernel,
    cgroupMode,
    features,
    disk: disk as Node['disk'],
    lastHeartbeatAt: timeOrNull(lastHeartbeatAt),
    createdAt: time(createdAt),
  };
}

import type { AuditAction, LimitDimension, Quota, Role, Scope } from '@berth/core';

/* Tenants, the keys that open them, and who changed what. */

/** A tenant's limits, or what is used of them now: of the budgets in this month (UTC), of the submissions in this minute. */
export type QuotaRow = { -readonly [D in LimitDimension]: Quota[D] };
/** Defaults and maxima of one run, by the names of wire's `runLimits`; what is absent is the operator's. */
export interface RunLimitsRow {
  defaults: Partial<Record<RunLimitName, number>>;
  maxima: Partial<Record<RunLimitName, number>>;
}
export type RunLimitName = 'cpuMillis' | 'memoryBytes' | 'diskBytes' | 'pids' | 'logBytes' | 'timeoutMs';
export interface TenantRow {
  id: string;
  name: string;
  quota: QuotaRow;
  used: QuotaRow;
  runLimits: RunLimitsRow;
  /** Its part of the fleet beside others'. */
  weight: number;
  requireDigest: boolean;
  /** What its runs may ask for beyond the ordinary. */
  features: string[];
  /** How long its ended runs are kept; null for as long as the service keeps them. */
  retainRunsMs: number | null;
  createdAt: Date;
}
export interface ApiKeyRow {
  id: string;
  /** null: the operator's admin key. */
  tenantId: string | null;
  name: string;
  role: Role;
  /** What it is narrowed to; empty: nothing. */
  scopes: Scope[];
  memberId: string | null;
  /** Its member's role, which bounds its own; null where it is nobody's. */
  memberRole: Role | null;
  /** `environment`: the one that the service was started with. */
  source: 'api' | 'environment';
  createdAt: Date;
  expiresAt: Date | null;
  revokedAt: Date | null;
}
/** Unless told: an operator's key is an admin's, a tenant's a submitter's; narrowed to nothing, nobody's, from the API. */
export interface ApiKeyInput {
  tenantId: string | null;
  name: string;
  hash: string;
  expiresAt: Date | null;
  role?: Role;
  scopes?: readonly Scope[];
  memberId?: string | null;
  source?: ApiKeyRow['source'];
}
export interface MemberRow {
  id: string;
  name: string;
  role: Role;
  createdAt: Date;
  removedAt: Date | null;
}
/** Who changes something, for the audit log. */
export interface Actor {
  /** null: the service itself, or a machine that joins. */
  keyId: string | null;
  name: string;
  owner: 'tenant' | 'operator' | 'system';
  requestId: string | null;
}
/** The service itself: what it changes without being asked. */
export const systemActor: Actor = { keyId: null, name: 'berth', owner: 'system', requestId: null };
export interface AuditEntryRow {
  id: bigint;
  at: Date;
  tenantId: string | null;
  actor: Actor;
  action: AuditAction;
  target: string;
  details: Record<string, unknown>;
}
export abstract class TenantStore {
  /** Refuses a taken name with `conflict`. A dimension that is not named has no limit. */
  abstract create(
    input: {
      name: string;
      quota: Partial<QuotaRow>;
      requireDigest: boolean;
      features?: readonly string[];
      runLimits?: Partial<RunLimitsRow>;
      weight?: number;
      retainRunsMs?: number | null;
    },
    by?: Actor,
  ): Promise<TenantRow>;
  abstract list(): Promise<TenantRow[]>;
  abstract find(id: string): Promise<TenantRow | null>;
  abstract findByName(name: string): Promise<TenantRow | null>;
  /** A raised quota admits waiting runs in the same transaction; returns the ids that became admitted. */
  abstract update(
    id: string,
    change: {
      quota?: Partial<QuotaRow>;
      requireDigest?: boolean;
      features?: readonly string[];
      runLimits?: Partial<RunLimitsRow>;
      weight?: number;
      /** null: the service's again. */
      retainRunsMs?: number | null;
    },
    by?: Actor,
  ): Promise<{ tenant: TenantRow; admitted: string[] } | null>;
  /** Every tenant's used beside the sum of what its runs and their logs hold; a difference is a bug. Submissions leave nothing to sum. */
  abstract recount(): Promise<{ tenantId: string; used: QuotaRow; sum: QuotaRow }[]>;
}

/* Whatever changes something by someone's word takes that someone, `by`, and writes the audit entry with the change. */

export abstract class ApiKeyStore {
  /** Refuses a member that is not the tenant's. */
  abstract create(input: ApiKeyInput, by?: Actor): Promise<ApiKeyRow>;
  /** null: the operator's. */
  abstract list(tenantId: string | null): Promise<ApiKeyRow[]>;
  abstract find(tenantId: string | null, keyId: string): Promise<ApiKeyRow | null>;
  abstract revoke(tenantId: string | null, keyId: string, by?: Actor): Promise<boolean>;
  /** A second key that opens the same; the first ends at `oldExpiresAt`, or before where it would have. null: unknown, revoked or expired. */
  abstract rotate(
    tenantId: string | null,
    keyId: string,
    input: { hash: string; expiresAt: Date | null; oldExpiresAt: Date },
    by?: Actor,
  ): Promise<ApiKeyRow | null>;
  /** The live key with this sha256 (hex) and its tenant; null when unknown, revoked or expired at `now`. */
  abstract authenticate(hash: string, now: Date): Promise<{ key: ApiKeyRow; tenant: TenantRow | null } | null>;
  /** Makes the key that the service was started with the operator's, once, and revokes the one before it. `revoked`: it was that one, or was revoked. */
  abstract adoptEnvironmentKey(hash: string): Promise<'adopted' | 'known' | 'revoked'>;
}

/** Those who hold keys of a tenant. */
export abstract class MemberStore {
  /** Refuses a taken name with `conflict`. */
  abstract create(tenantId: string, input: { name: string; role: Role }, by?: Actor): Promise<MemberRow>;
  abstract list(tenantId: string): Promise<MemberRow[]>;
  abstract find(tenantId: string, memberId: string): Promise<MemberRow | null>;
  abstract update(tenantId: string, memberId: string, role: Role, by?: Actor): Promise<MemberRow | null>;
  /** Revokes its keys as well. */
  abstract remove(tenantId: string, memberId: string, by?: Actor): Promise<boolean>;
}

/** Who changed what. It only grows: the database refuses everything else. */
export abstract class AuditStore {
  /** Newest first; of one tenant, or of all and the operator. */
  abstract list(filter: { tenantId?: string; before?: bigint; limit: number }): Promise<AuditEntryRow[]>;
  /** An entry of a change that is made elsewhere than in this database: write it first, so that none goes unrecorded. */
  abstract record(
    by: Actor,
    note: { action: AuditAction; tenantId: string | null; target: string; details?: Record<string, unknown> },
  ): Promise<void>;
}

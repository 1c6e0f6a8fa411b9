import type {
  AppErrorCode,
  AwaitingRun,
  ExplanationView,
  Fleet,
  LimitDimension,
  Placement,
  RunDemand,
  RunState,
  TenantStanding,
} from '@berth/core';
import type { LayerStore } from './layer-ports.js';
import type { Actor, ApiKeyStore, AuditStore, MemberStore, TenantStore } from './tenant-ports.js';

export * from './layer-ports.js';
export * from './tenant-ports.js';

/*
 * What the control plane remembers, as ports. Postgres is the truth: every method is one transaction and safe under any number of replicas.
 * Rows are plain objects; times are Dates; big numbers are numbers (all limits are below 2^53).
 * `RunStore` is the only writer of a run's state column, and follows the table of libs/core's run lifecycle.
 */

export interface NodeRow {
  id: string;
  name: string;
  state: 'ready' | 'lost' | 'draining' | 'dead';
  cpuMillis: number;
  memoryBytes: number;
  /** What it can bound its containers' writes to; 0 where it cannot. */
  diskBytes: number;
  reserved: { cpuMillis: number; memoryBytes: number; diskBytes: number; runs: number };
  agentVersion: string;
  kernel: string;
  architecture: string;
  cgroupMode: 'v1' | 'v2' | 'hybrid';
  /** What works there beyond the ordinary. */
  features: string[];
  /** As its agent last told it (`NodeDisk` of libs/wire); null until then. */
  disk: unknown;
  lastHeartbeatAt: Date | null;
  createdAt: Date;
}
export interface FailureRow {
  code: 'nonZeroExit' | 'signaled' | 'outOfMemory' | 'timeout' | 'imagePullFailed' | 'startFailed' | 'nodeLost' | 'preempted' | 'internal';
  message: string;
  blame: 'user' | 'platform';
}
export interface AttemptRow {
  number: number;
  epoch: number;
  nodeId: string | null;
  placedAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
  exitCode: number | null;
  signal: number | null;
  oomKilled: boolean;
  failure: FailureRow | null;
  peakMemoryBytes: number | null;
  cpuTimeUs: number | null;
  /** Wire's CgroupUsage as JSON. */
  usage: unknown;
  logBytes: number | null;
}
/** `spec` is wire's RunSpec as JSON. */
export interface RunRow {
  id: string;
  tenantId: string;
  tenantName: string;
  state: RunState;
  waitingFor: 'quota' | 'capacity' | null;
  waitingReason: string | null;
  image: string;
  digest: string;
  spec: unknown;
  epoch: number;
  exitCode: number | null;
  signal: number | null;
  failure: FailureRow | null;
  cancelRequested: boolean;
  attempts: AttemptRow[];
  createdAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
}
export interface RunEventRow {
  id: bigint;
  runId: string;
  type: string;
  state: RunState;
  attempt: number | null;
  message: string | null;
  at: Date;
}
export interface LeaseRow {
  runId: string;
  attempt: number;
  epoch: number;
}

/** A run as its node needs it. `stop`: its cancellation was asked for. */
export interface AssignmentRow {
  nodeId: string;
  lease: LeaseRow;
  stop: boolean;
  run: Pick<RunRow, 'id' | 'tenantId' | 'tenantName' | 'image' | 'digest' | 'spec' | 'createdAt'>;
}
export interface HeldLeaseRow {
  lease: LeaseRow;
  stop: boolean;
}

export abstract class NodeStore {
  abstract createJoinToken(input: { hash: string; expiresAt: Date; uses: number }, by?: Actor): Promise<void>;
  /** Spends one use of the token and creates the node, `lost` until it connects; null when the token is unknown, spent or expired. */
  abstract join(input: { tokenHash: string; credentialHash: string; name: string; now: Date }): Promise<NodeRow | null>;
  abstract authenticate(credentialHash: string): Promise<NodeRow | null>;
  abstract connected(
    nodeId: string,
    facts: {
      cpuMillis: number;
      memoryBytes: number;
      diskBytes?: number;
      agentVersion: string;
      kernel: string;
      architecture: string;
      cgroupMode: 'v1' | 'v2' | 'hybrid';
      features: readonly string[];
    },
    now: Date,
  ): Promise<void>;
  /** Many nodes at once; also returns a lost node to ready. */
  abstract heartbeats(nodeIds: string[], now: Date): Promise<void>;
  /** Keeps what a node tells of its disk, in place of what it told before. */
  abstract tellDisk(nodeId: string, disk: object): Promise<void>;
  /** Marks nodes silent since `before` as lost and returns their ids. */
  abstract markLost(before: Date): Promise<string[]>;
  /** A node that is lost or dead becomes `lost` until it is heard from again, and then what was asked for. */
  abstract setState(nodeId: string, state: 'ready' | 'draining' | 'dead', by?: Actor): Promise<NodeRow | null>;
  abstract list(): Promise<NodeRow[]>;
  abstract find(nodeId: string): Promise<NodeRow | null>;
}

/** `bodyHash` is sha256 of the canonical body. */
export interface IdempotencyClaim {
  key: string;
  bodyHash: string;
}
export interface AdmitInput {
  tenantId: string;
  /** null: no Idempotency-Key header. */
  idempotency: IdempotencyClaim | null;
  image: string;
  digest: string;
  spec: unknown;
  /** `maxAttempts` is the one below. */
  request: Omit<RunDemand, 'maxAttempts'>;
  /** Over quota: wait, be refused, or wait while runs of the tenant with lower priority make way. */
  onQuota: 'queue' | 'reject' | 'preempt';
  priority: number;
  maxAttempts: number;
  labels: Record<string, string>;
  /** Features that its node must have; absent: none. */
  needs?: readonly string[];
  now: Date;
}
/** What of a submission decides about its admission. */
export type QuoteInput = Omit<AdmitInput, 'idempotency' | 'image' | 'digest' | 'spec' | 'labels'>;
export type QuoteOutcome = { kind: 'quoted'; view: ExplanationView } | Extract<AdmitOutcome, { kind: 'refused' }>;
export type AdmitOutcome =
  | {
      kind: 'created';
      run: RunRow;
      /** Runs that hold a reservation newly, this one or others that stood before it: publish wake-ups. */
      admitted: string[];
      /** Leases whose runs make way for this one. */
      stops: { nodeId: string; lease: LeaseRow }[];
      /** Other runs that are not what they were. */
      changed: string[];
      /** Submissions of this minute, this one included; others at the same time may have taken more. */
      submissions: { limit: number; used: number };
    }
  | { kind: 'replayed'; run: RunRow }
  | {
      kind: 'refused';
      code: Extract<AppErrorCode, 'overQuota' | 'quotaNeverFits' | 'idempotencyMismatch'>;
      dimension?: LimitDimension;
      limit?: number;
      used?: number;
      requested?: number;
    };

export interface AttemptReport extends LeaseRow {
  id: string;
  at: Date;
  fact:
    | { kind: 'preparing' }
    | { kind: 'running'; startedAt: Date }
    | { kind: 'stopping' }
    | {
        kind: 'exited';
        exitCode: number | null;
        signal: number | null;
        oomKilled: boolean;
        stoppedBy: 'request' | 'timeout' | 'lease' | null;
        startedAt: Date | null;
        finishedAt: Date;
        peakMemoryBytes: number | null;
        cpuTimeUs: number | null;
        /** Wire's CgroupUsage as JSON. */
        usage: unknown;
        logBytes: number;
      }
    | { kind: 'failed'; failure: FailureRow; retryable: boolean }
    | { kind: 'stopped' };
}

export interface NodeReports {
  readonly nodeId: string;
  readonly reports: readonly AttemptReport[];
}
export interface AppliedReports {
  outcomes: { id: string; outcome: 'applied' | 'stale' }[];
  changed: string[];
  /** Runs that got their reservation by it; where several nodes were applied together, all of them are with the first. */
  admitted: string[];
  /** Leases that the node still acts on and must let go. */
  stop: LeaseRow[];
}

/** How long what has ended is kept. */
export interface Retention {
  /** Ended runs, with their events and logs, of tenants without a policy of their own; counted from their end. */
  readonly runsMs: number;
  /** Idempotency keys, counted from the submission. */
  readonly keysMs: number;
}

export interface Forgotten {
  readonly runs: number;
  readonly keys: number;
  /** Runs that the log bytes that came free admitted. */
  readonly admitted: string[];
}

/** Days are RFC 3339 dates (UTC), the last one included. `tenantId` null: of every tenant. `label`: by the values of this label. */
export interface UsageQuery {
  readonly tenantId: string | null;
  readonly from: string;
  readonly to: string;
  readonly label: string | null;
  readonly limit: number;
}

/** What the runs used that ended on one day. `labelValue` null: whatever their labels. */
export interface UsageRow {
  readonly tenantName: string;
  readonly day: string;
  readonly labelValue: string | null;
  readonly runs: number;
  readonly attempts: number;
  readonly runMs: number;
  /** As the nodes measured it. */
  readonly cpuTimeUs: number;
  /** Of the monthly budgets, by what was reserved and for how long. */
  readonly reservedCpuMs: number;
  readonly reservedMemoryMibSeconds: number;
  readonly logBytes: number;
}

export abstract class RunStore {
  /** Idempotency row, guarded quota update, run, event and outbox row, all or nothing. Calls that come together share their statements. */
  abstract admit(input: AdmitInput): Promise<AdmitOutcome>;
  /** What `admit` would answer to an idempotency key that was used before; null when it is fresh. Writes nothing. */
  abstract findReplay(tenantId: string, claim: IdempotencyClaim): Promise<Extract<AdmitOutcome, { kind: 'replayed' | 'refused' }> | null>;
  /** How a run would stand if `admit` took it in now, or why it would not. Writes nothing. */
  abstract quote(input: QuoteInput): Promise<QuoteOutcome>;
  /** null for another tenant's run as for an unknown one. */
  abstract find(tenantId: string, runId: string): Promise<RunRow | null>;
  abstract list(
    tenantId: string,
    filter: { state?: RunState; label?: { key: string; value: string }; limit: number; cursor?: string },
  ): Promise<{ runs: RunRow[]; nextCursor: string | null }>;
  /** Queued: canceled at once, its reservation released. Placed or later: cancelRequested, and the lease to stop. Terminal: unchanged. */
  abstract cancel(
    tenantId: string,
    runId: string,
    now: Date,
    by?: Actor,
  ): Promise<{ run: RunRow; stop: { nodeId: string; lease: LeaseRow } | null; admitted: string[] } | null>;
  /** Terminal runs only, with their events and logs; `runNotTerminal` otherwise. The log bytes that come free may admit others. */
  abstract delete(
    tenantId: string,
    runId: string,
    now: Date,
    by?: Actor,
  ): Promise<{ outcome: 'deleted' | 'runNotTerminal' | 'notFound'; admitted: string[] }>;
  /** Forgets ended runs and idempotency keys older than the policy says, the oldest first, at most `limit` of each. Replicas may do it at once. */
  abstract forgetOld(retention: Retention, limit: number, now: Date): Promise<Forgotten>;
  /** What ended runs used, forgotten ones included, by day, tenant and label value; at most `limit` lines. */
  abstract usage(query: UsageQuery): Promise<UsageRow[]>;
  /** What tells why a run of the tenant has not started; null when it has no such run. */
  abstract explanationView(tenantId: string, runId: string, now: Date): Promise<ExplanationView | null>;
  /** One run's history as it stands; without `runId` the tenant's, a second late, so that no entry can appear before a cursor that passed it. */
  abstract events(filter: { tenantId: string; runId?: string; after?: bigint; limit: number }): Promise<RunEventRow[]>;

  /**
   * The fleet, the tenants with runs that hold a reservation and await a node, and the first of these runs, in one snapshot: what `nextRuns` of libs/core
   * orders. `isPartial`: some tenant has more that would fit.
   */
  abstract placementView(limit: number): Promise<{
    fleet: Fleet;
    tenants: TenantStanding[];
    runs: (AwaitingRun & { diskBytes: number; createdAt: Date; digest: string; attempt: number; needs: string[] })[];
    isPartial: boolean;
  }>;
  /** Every tenant that holds a node's room or waits for it, and since when its longest waiting run does. */
  abstract standings(): Promise<{ fleet: Fleet; tenants: (TenantStanding & { awaiting: number; oldestQueuedAt: Date | null })[] }>;
  /** Commits those that still hold (run queued, node ready with room); raises the epoch; records why the unplaced wait. Returns what was placed. */
  abstract commitPlacements(
    placements: Placement[],
    unplaced: { runId: string; reason: string }[],
    now: Date,
  ): Promise<{ nodeId: string; lease: LeaseRow }[]>;
  /** Of these runs those that are placed on the node beside them and not terminal, with what the node needs to know of them. */
  abstract assignments(wanted: readonly { readonly nodeId: string; readonly runIds: readonly string[] }[]): Promise<AssignmentRow[]>;
  /** What a node should hold: every run placed on it and not terminal. */
  abstract leases(nodeId: string): Promise<HeldLeaseRow[]>;
  /** `applyReports` for several nodes in one transaction; an answer for each, in their order. */
  abstract applyReportsOfNodes(nodes: readonly NodeReports[], now: Date): Promise<AppliedReports[]>;
  /** Applies facts in order; a stale epoch or a foreign node changes no row. Terminal facts settle quota once and admit the tenant's next runs, or return the run to queued when attempts remain. */
  abstract applyReports(nodeId: string, reports: AttemptReport[], now: Date): Promise<AppliedReports>;
  /** Runs on nodes that are lost and silent since before `lostBefore` (or dead): `retry` with attempts left returns to queued, `wait` stays, unless the node is dead: then failed with nodeLost. */
  abstract releaseLost(lostBefore: Date, now: Date): Promise<{ changed: string[]; admitted: string[] }>;

  /** The safety net of BullMQ: runs with a reservation that await a node since before `before`. */
  abstract stalled(before: Date, limit: number): Promise<{ runId: string; attempt: number }[]>;
  /** Admits waiting runs that fit now, oldest and highest priority first; normally releases do it. */
  abstract admitWaiting(now: Date): Promise<string[]>;
  abstract outbox(limit: number): Promise<{ id: bigint; runId: string; attempt: number }[]>;
  abstract outboxPublished(ids: bigint[]): Promise<void>;
  /** How many runs of a tenant have not ended, by the digest of their image. */
  abstract activeImages(tenantId: string): Promise<Map<string, number>>;
  /** How many runs a tenant has on nodes, at all and ended, and what the logs of the ended ones take of its quota. */
  abstract totals(tenantId: string): Promise<{ onNodes: number; runs: number; ended: number; endedLogBytes: number }>;
  /** How many runs are in each state, for metrics. */
  abstract countByState(): Promise<Record<string, number>>;
}

/** Log bytes of attempts, as CRI records, in chunks as they arrive. */
export abstract class LogStore {
  /** Idempotent by offset; answers how far the log is stored without a gap. Refuses (stale) a lease that this node does not hold, or that was given up; its own ended attempt is not. */
  abstract append(nodeId: string, lease: LeaseRow, offset: number, bytes: Buffer): Promise<{ nextOffset: number; stale: boolean }>;
  /** Bytes from `offset`, at most `limit`; `complete` when the attempt ended and everything it wrote is stored. */
  abstract read(
    runId: string,
    attempt: number,
    offset: number,
    limit: number,
  ): Promise<{ bytes: Buffer; nextOffset: number; complete: boolean }>;
}

/** What is asked of the node that has an attempt; `question` is wire's NodeQuestion as JSON. */
export interface QuestionRow {
  id: string;
  nodeId: string;
  lease: LeaseRow;
  question: object;
}

/** Questions on their way to nodes and their answers on the way back, between replicas: whoever asks need not have the node's connection. */
export abstract class QuestionStore {
  /** Keeps a question until it is forgotten, or for whoever asks another after `expiresAt` to remove. */
  abstract ask(row: QuestionRow, now: Date, expiresAt: Date): Promise<void>;
  /** Null when it is answered, forgotten, or another node's. */
  abstract unanswered(nodeId: string, id: string): Promise<QuestionRow | null>;
  /** The first answer of the node that was asked stays; false for all others. */
  abstract answer(nodeId: string, id: string, answer: object): Promise<boolean>;
  /** Wire's NodeAnswer as JSON; null while there is none. */
  abstract answerOf(id: string): Promise<unknown>;
  abstract forget(id: string): Promise<void>;
}

/** Everything, over one pool. */
export interface Store {
  tenants: TenantStore;
  apiKeys: ApiKeyStore;
  members: MemberStore;
  audit: AuditStore;
  nodes: NodeStore;
  runs: RunStore;
  logs: LogStore;
  questions: QuestionStore;
  layers: LayerStore;
  /** Applies missing migrations under an advisory lock; throws with a clear word when the database is newer than this program. */
  migrate(): Promise<{ applied: string[] }>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

import type { RunFailure, RunStanding, RunState, Transition } from '@berth/core';
import { isTerminal } from '@berth/core';
import type pg from 'pg';
import { settle } from './settle.js';

/*
 * Writing what transitions made of runs that are already locked: the runs, their attempts, their history, the room on their nodes and the quota of
 * their tenants, whatever the number of runs, in two statements, and a third where quota came free.
 */

/** A run under lock, as decisions need it. */
export interface LockedRun extends RunStanding {
  readonly id: string;
  readonly tenantId: string;
  readonly epoch: number;
  readonly nodeId: string | null;
  readonly reserved: boolean;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly onNodeLost: 'wait' | 'retry';
}

interface LockedRow {
  id: string;
  tenant_id: string;
  state: RunState;
  attempt: number;
  max_attempts: number;
  epoch: number;
  node_id: string | null;
  cancel_requested: boolean;
  preempted_for: string | null;
  reserved: boolean;
  cpu_millis: number;
  memory_bytes: number;
  disk_bytes: number;
  on_node_lost: 'wait' | 'retry';
}

/** Locks the runs that `condition` (SQL over `r`) chooses, in the order of their ids. */
export async function lockRuns(client: pg.PoolClient, condition: string, values: unknown[]): Promise<LockedRun[]> {
  const { rows } = await client.query<LockedRow>(
    `SELECT r.id, r.tenant_id, r.state, r.attempt, r.max_attempts, r.epoch, r.node_id, r.cancel_requested, r.preempted_for, r.reserved,
            r.cpu_millis, r.memory_bytes, r.disk_bytes, r.on_node_lost
     FROM runs r WHERE ${condition}`,
    values,
  );
  return rows.map((row) => ({
    id: row.id,
    tenantId: row.tenant_id,
    state: row.state,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    epoch: row.epoch,
    nodeId: row.node_id,
    cancelRequested: row.cancel_requested,
    preemptedFor: row.preempted_for,
    reserved: row.reserved,
    cpuMillis: row.cpu_millis,
    memoryBytes: row.memory_bytes,
    diskBytes: row.disk_bytes,
    onNodeLost: row.on_node_lost,
  }));
}

/** What a container's end told, for the run and its attempt. */
export interface ExitRecord {
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly oomKilled: boolean;
  readonly peakMemoryBytes: number | null;
  readonly cpuTimeUs: number | null;
  readonly usage: unknown;
  readonly logBytes: number;
}

interface RunEvent {
  readonly type: string;
  readonly state: RunState;
  readonly message: string | null;
  readonly at: Date;
}

/** All that happens to one run in one transaction. */
export class RunChange {
  state: RunState;
  cancelRequested: boolean;
  /** The run for whose sake it is to stop. */
  preemptedFor: string | null;
  attemptEnded = false;
  abandoned = false;
  failure: RunFailure | null = null;
  startedAt: Date | null = null;
  finishedAt: Date | null = null;
  exit: ExitRecord | null = null;
  readonly events: RunEvent[] = [];

  constructor(readonly before: LockedRun) {
    this.state = before.state;
    this.cancelRequested = before.cancelRequested;
    this.preemptedFor = before.preemptedFor;
  }

  /** The run as it stands after what was noted so far. */
  get standing(): RunStanding {
    const { attempt, maxAttempts } = this.before;
    return { state: this.state, attempt, maxAttempts, cancelRequested: this.cancelRequested, preemptedFor: this.preemptedFor };
  }

  get isRetry(): boolean {
    return this.attemptEnded && this.state === 'queued';
  }

  /** Notes a transition; returns whether there was anything to note. `message`: why, where the transition does not say. */
  note(transition: Transition, at: Date, message: string | null = null): boolean {
    switch (transition.kind) {
      case 'unchanged':
        return false;
      case 'cancelRequested':
        this.cancelRequested = true;
        this.events.push({ type: 'cancelRequested', state: this.state, message, at });
        return true;
      case 'moved':
        this.state = transition.state;
        if (transition.state === 'queued' || isTerminal(transition.state)) {
          this.attemptEnded = this.before.nodeId !== null;
          this.failure = transition.failure;
          this.finishedAt = at;
        }
        this.events.push({
          type: transition.state === 'queued' ? 'retrying' : transition.state,
          state: transition.state,
          message: transition.failure?.message ?? message,
          at,
        });
        return true;
    }
  }
}

const writeStatement = `
  WITH change AS (
    SELECT * FROM jsonb_to_recordset($1) AS c(
      id text, state text, terminal boolean, retry boolean, attempt int, "attemptEnded" boolean, abandoned boolean, "cancelRequested" boolean, "preemptedFor" text,
      "nodeId" text, "cpuMillis" int, "memoryBytes" bigint, "diskBytes" bigint, failure jsonb, "startedAt" timestamptz, "finishedAt" timestamptz,
      "exitCode" int, signal int, "oomKilled" boolean, "peakMemoryBytes" bigint, "cpuTimeUs" bigint, "logBytes" bigint, usage jsonb)
  ), run AS (
    UPDATE runs SET
      state = c.state,
      cancel_requested = c."cancelRequested",
      preempted_for = c."preemptedFor",
      reserved = reserved AND NOT c.terminal,
      spent_ms = spent_ms + CASE WHEN c."attemptEnded" AND coalesce(a.started_at, c."startedAt") IS NOT NULL
        THEN greatest(0, round(extract(epoch FROM c."finishedAt" - coalesce(a.started_at, c."startedAt")) * 1000)) ELSE 0 END,
      kept_log_bytes = CASE WHEN c."attemptEnded"
        THEN least(runs.log_bytes, kept_log_bytes + coalesce(c."logBytes", a.log_stored_bytes, 0)) ELSE kept_log_bytes END,
      node_id = CASE WHEN c."attemptEnded" THEN NULL ELSE runs.node_id END,
      waiting_for = CASE WHEN c.terminal THEN NULL ELSE waiting_for END,
      waiting_reason = CASE WHEN c.terminal THEN NULL ELSE waiting_reason END,
      queued_at = CASE WHEN c.retry THEN $3 ELSE queued_at END,
      started_at = coalesce(runs.started_at, c."startedAt"),
      finished_at = CASE WHEN c.terminal THEN c."finishedAt" END,
      exit_code = CASE WHEN c.terminal THEN c."exitCode" END,
      signal = CASE WHEN c.terminal THEN c.signal END,
      failure = CASE WHEN c.terminal THEN c.failure END
    FROM change c LEFT JOIN attempts a ON a.run_id = c.id AND a.number = c.attempt AND c."attemptEnded" WHERE runs.id = c.id
  ), attempt AS (
    UPDATE attempts SET
      started_at = coalesce(started_at, c."startedAt"),
      finished_at = CASE WHEN c."attemptEnded" THEN c."finishedAt" END,
      abandoned = c.abandoned,
      failure = c.failure,
      exit_code = c."exitCode", signal = c.signal, oom_killed = coalesce(c."oomKilled", false),
      peak_memory_bytes = c."peakMemoryBytes", cpu_time_us = c."cpuTimeUs", usage = c.usage, log_bytes = c."logBytes"
    FROM change c WHERE c."nodeId" IS NOT NULL AND attempts.run_id = c.id AND attempts.number = c.attempt
  ), node AS (
    UPDATE nodes SET
      reserved_cpu_millis = reserved_cpu_millis - freed.cpu,
      reserved_memory_bytes = reserved_memory_bytes - freed.memory,
      reserved_disk_bytes = reserved_disk_bytes - freed.disk,
      reserved_runs = reserved_runs - freed.runs
    FROM (SELECT "nodeId" AS id, count(*) AS runs, sum("cpuMillis") AS cpu, sum("memoryBytes") AS memory, sum("diskBytes") AS disk
          FROM change WHERE "attemptEnded" GROUP BY "nodeId") AS freed
    WHERE nodes.id = freed.id
  ), box AS (
    INSERT INTO outbox (run_id, attempt) SELECT id, attempt + 1 FROM change WHERE retry ORDER BY id
  )
  INSERT INTO run_events (run_id, tenant_id, type, state, attempt, message, at)
  SELECT e."runId", e."tenantId", e.type, e.state, e.attempt, e.message, e.at
  FROM ROWS FROM (jsonb_to_recordset($2) AS ("runId" text, "tenantId" text, type text, state text, attempt int, message text, at timestamptz))
    WITH ORDINALITY AS e("runId", "tenantId", type, state, attempt, message, at, place)
  ORDER BY e.place`;

/**
 * Writes the changes, settles the quota of the runs that ended (each once: their rows are locked and were not terminal before) and admits the next of
 * their tenants. Nodes other than a single one must have been locked in order of id. Returns the ids of the runs admitted.
 */
export async function writeChanges(client: pg.PoolClient, changes: readonly RunChange[], now: Date): Promise<string[]> {
  const touched = changes.filter((change) => change.events.length > 0);
  if (touched.length === 0) return [];
  await client.query({
    name: 'write-changes',
    text: writeStatement,
    values: [JSON.stringify(touched.map(changeRecord)), JSON.stringify(touched.flatMap(eventRecords)), now],
  });
  return settle(
    client,
    touched.filter((change) => isTerminal(change.state)).map((change) => change.before),
    now,
  );
}

function changeRecord(change: RunChange): Record<string, unknown> {
  const { before } = change;
  return {
    id: before.id,
    state: change.state,
    terminal: isTerminal(change.state),
    retry: change.isRetry,
    attempt: before.attempt,
    attemptEnded: change.attemptEnded,
    abandoned: change.abandoned,
    cancelRequested: change.cancelRequested,
    preemptedFor: change.preemptedFor,
    nodeId: before.nodeId,
    cpuMillis: before.cpuMillis,
    memoryBytes: before.memoryBytes,
    diskBytes: before.diskBytes,
    failure: change.failure,
    startedAt: change.startedAt,
    finishedAt: change.finishedAt,
    ...change.exit,
  };
}

function eventRecords({ before, events }: RunChange): Record<string, unknown>[] {
  const attempt = before.attempt === 0 ? null : before.attempt;
  return events.map((event) => ({ runId: before.id, tenantId: before.tenantId, attempt, ...event }));
}

import { z } from 'zod';
import { nodeDisk } from './images.js';
import { digest, nodeId, runId, timestamp } from './primitives.js';
import { cgroupUsage, fileChange, runFailure, runSpec } from './run.js';

/*
 * The agent link. The agent joins once over HTTP (`POST /v1/nodes/join`), then dials `GET /v1/nodes/link` as a WebSocket with
 * `Authorization: Bearer <credential>`, twice: `?channel=control` for the messages of this file, `?channel=logs` for log chunks, so that a
 * log flood never delays a heartbeat. Each text frame is one JSON message. A message that does not parse closes the link with 1008.
 */
export const agentProtocol = 1;

export const joinRequest = z.strictObject({ token: z.string().max(256), name: z.string().min(1).max(128) });
export const joinResponse = z.object({ nodeId, credential: z.string() });

/** Names one attempt's life. A write that carries a stale epoch changes nothing (I3). */
export const lease = z.object({ runId, attempt: z.int().min(1), epoch: z.int().min(1) });
export type Lease = z.infer<typeof lease>;

export const exitRecord = z.object({
  exitCode: z.int().nullable(),
  signal: z.int().nullable(),
  oomKilled: z.boolean(),
  stoppedBy: z.enum(['request', 'timeout', 'lease']).nullable(),
  startedAt: timestamp.nullable(),
  finishedAt: timestamp,
  peakMemoryBytes: z.int().nullable(),
  cpuTimeUs: z.int().nullable(),
  logBytes: z.int().describe("Length of the attempt's log file; it is whole once so many bytes are acknowledged"),
  logDroppedBytes: z.int(),
  usage: cgroupUsage.nullable().default(null).describe('Null: its shim is of a time before it was counted'),
});
export type ExitRecord = z.infer<typeof exitRecord>;

/** A fact about an attempt. Spooled on the node until acknowledged; may come twice, in order per attempt. */
export const report = z.intersection(
  lease.extend({ id: z.string().max(64).describe('Unique per node; acknowledged by it') }),
  z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('preparing') }),
    z.object({ kind: z.literal('running'), startedAt: timestamp }),
    z.object({ kind: z.literal('stopping') }),
    z.object({ kind: z.literal('exited'), exit: exitRecord }),
    z.object({ kind: z.literal('failed'), failure: runFailure, retryable: z.boolean() }),
    z.object({ kind: z.literal('stopped').describe('The attempt was cancelled or superseded before it started') }),
  ]),
);
export type Report = z.infer<typeof report>;

/** No answer lists more changes, nor as many of them as would fill a frame of the link. */
export const changesMax = 10_000;

/** What the control plane asks about an attempt that the node holds. Asked of nodes with the feature that is named as the kind is. */
export const nodeQuestion = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('changes'), max: z.int().min(1).max(changesMax).describe('Tell at most so many') }),
  z.object({
    kind: z.literal('commit'),
    repository: z.string().describe('In the embedded registry: TENANT/NAME'),
    tag: z.string(),
    createdAt: timestamp.describe("The image's own"),
    sourceRepository: z.string().nullable().describe("Of the run's image, where the embedded registry has it"),
    pullAuthorization: z
      .string()
      .nullable()
      .describe("Whole Authorization header values, short-lived, of the run's image and of the repository;"),
    pushAuthorization: z.string().nullable().describe('null where the question is kept, minted as it is sent'),
  }),
]);
export type NodeQuestion = z.infer<typeof nodeQuestion>;

export const nodeAnswer = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('changes'), changes: z.array(fileChange).max(changesMax), truncated: z.boolean() }),
  z.object({ kind: z.literal('commit'), digest, layerDigest: digest, layerBytes: z.int() }),
  z.object({ kind: z.literal('refused'), message: z.string().max(1000).describe('For people, and fit for the tenant to read') }),
]);
export type NodeAnswer = z.infer<typeof nodeAnswer>;

/** Sent by the agent on the control channel. `hello` is first on each connection and lists every attempt the node still holds. */
export const agentMessage = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    protocol: z.int(),
    agentVersion: z.string(),
    kernel: z.string(),
    architecture: z.enum(['amd64', 'arm64']),
    cgroupMode: z.enum(['v1', 'v2', 'hybrid']),
    cpuMillis: z.int(),
    memoryBytes: z.int(),
    features: z.array(z.string().max(64)).max(32).default([]).describe('What works there beyond the ordinary'),
    diskBytes: z.int().min(0).optional().describe('What it can bound writable layers to; absent: it cannot'),
    holds: z.array(lease),
  }),
  z.object({
    type: z.literal('heartbeat'),
    sequence: z.int(),
    holds: z.array(lease),
    layers: z.array(digest).optional(),
    disk: nodeDisk.optional().describe('When it is not what was told last'),
  }),
  z.object({ type: z.literal('reports'), reports: z.array(report).max(500) }),
  z.object({ type: z.literal('answer'), id: z.string(), answer: nodeAnswer }),
]);
export type AgentMessage = z.infer<typeof agentMessage>;

/** One attempt for this node. Sent again after a reconnect: it must be idempotent by (runId, epoch). */
export const assignment = lease.extend({
  tenant: z.string(),
  image: z.object({ reference: z.string().describe('registry/repository as submitted'), digest }),
  pullAuthorization: z.string().nullable().describe('Whole Authorization header value for the image registry; short-lived'),
  spec: runSpec,
});
export type Assignment = z.infer<typeof assignment>;

/** Sent by the control plane on the control channel. */
export const controlMessage = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('welcome'),
    nodeId,
    heartbeatMs: z.int(),
    stopAfterMs: z.int().describe('T_stop: without an acknowledged heartbeat for so long, containers with onNodeLost "retry" stop'),
    registries: z.array(z.object({ host: z.string(), url: z.string() })).describe('Where named registries listen, and may be internal'),
  }),
  z.object({ type: z.literal('heartbeatAck'), sequence: z.int() }),
  z.object({ type: z.literal('assign'), assignments: z.array(assignment) }),
  z.object({ type: z.literal('stop'), lease, reason: z.enum(['canceled', 'superseded']), graceMs: z.int() }),
  z.object({ type: z.literal('reportAcks'), acks: z.array(z.object({ id: z.string(), outcome: z.enum(['applied', 'stale']) })) }),
  // May come twice; one answer is enough, and an answer that comes too late is dropped.
  z.object({ type: z.literal('ask'), id: z.string(), lease, question: nodeQuestion }),
]);
export type ControlMessage = z.infer<typeof controlMessage>;

/** On the logs channel, agent to control plane: bytes of the attempt's log file (CRI records) from `offset`, base64, at most 256 KiB. */
export const logChunk = lease.extend({ type: z.literal('logChunk'), offset: z.int().min(0), bytes: z.base64() });
/** Back: everything below `nextOffset` is stored. `window` is how many bytes beyond it may be in flight. A stale lease answers `stale: true`. */
export const logAck = lease.extend({ type: z.literal('logAck'), nextOffset: z.int().min(0), window: z.int(), stale: z.boolean() });

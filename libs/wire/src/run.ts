import { networks, runtimeClasses } from '@berth/core';
import { z } from 'zod';
import { imageText, label, runId, text, timestamp } from './primitives.js';

/** The states of a run, in the order of its life. The last three are terminal and never change (I4). */
export const runStates = ['queued', 'placed', 'preparing', 'running', 'stopping', 'succeeded', 'failed', 'canceled'] as const;
export const runState = z.enum(runStates);

/** What a queued run waits for. `quota`: it holds no reservation yet; `capacity`: no node has room. */
export const waitingFor = z.enum(['quota', 'capacity']);

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const dayMs = 86_400_000;

export const diskLimit = z
  .int()
  .min(MiB)
  .max(Number.MAX_SAFE_INTEGER)
  .describe('Size of the writable layer; only nodes that can bound it take such runs. Without it, the node alone bounds it');
export const logLimit = z
  .int()
  .min(64 * KiB)
  .max(1024 * GiB)
  .describe("Length of an attempt's log; what goes beyond is dropped, and marked");
export const timeout = z
  .int()
  .min(100)
  .max(30 * dayMs)
  .describe('From start; then the stop signal, the grace, SIGKILL');

/** What a container may use. Each limit is always set; omitted ones take the operator's defaults. */
export const resources = z
  .strictObject({
    cpuMillis: z.int().min(10).max(1_024_000).describe('Thousandths of a cpu'),
    memoryBytes: z
      .int()
      .min(8 * MiB)
      .max(16_384 * GiB)
      .describe('Memory limit, swap included'),
    pids: z.int().min(1).max(4_194_304).describe('Processes and threads'),
    shmBytes: z
      .int()
      .min(64 * KiB)
      .max(1024 * GiB)
      .describe('Size of /dev/shm, charged to memoryBytes'),
    diskBytes: diskLimit.optional(),
    logBytes: logLimit.optional(),
  })
  .describe('Limits of the container');

const environmentName = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[^=\0\n\p{Cs}]+$/u, 'must not contain "=", NUL, a newline or unpaired surrogates');

/** The body of `POST /v1/runs`. A field that is not named here is refused with 400. */
export const createRunRequest = z.strictObject({
  image: imageText,
  command: z
    .array(text(32 * KiB))
    .min(1)
    .max(1024)
    .optional()
    .describe("Replaces the image's ENTRYPOINT and drops its CMD"),
  args: z
    .array(text(32 * KiB))
    .max(1024)
    .optional()
    .describe("Replaces the image's CMD"),
  env: z
    .record(environmentName, text(128 * KiB))
    .optional()
    .describe("Added to the image's environment"),
  workingDir: text(4096).regex(/^\//, 'must be absolute').optional(),
  user: text(256).min(1).optional().describe('NAME, UID, NAME:GROUP or UID:GID, resolved in the image'),
  hostname: z
    .string()
    .max(63)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/i, 'must be a DNS label')
    .optional(),
  resources: resources.partial().optional(),
  readOnlyRootfs: z.boolean().optional(),
  init: z.boolean().optional().describe('Run under an init that reaps orphans and forwards signals'),
  network: z
    .enum(networks)
    .optional()
    .describe("none: loopback alone. egress: out to the internet, with the operator's leave, and then the default; nothing reaches in"),
  runtimeClass: z.enum(runtimeClasses).optional().describe("The OCI runtime; others than Berth's own need the operator's leave"),
  timeoutMs: timeout.optional(),
  stopGraceMs: z.int().min(0).max(600_000).optional().describe('Between the stop signal and SIGKILL; 10,000 by default'),
  maxAttempts: z.int().min(1).max(10).optional().describe('Attempts in all; 1 by default'),
  onQuota: z
    .enum(['queue', 'reject', 'preempt'])
    .optional()
    .describe("Over quota: wait (default), be refused with 429, or wait while the tenant's own runs of lower priority make way"),
  onNodeLost: z.enum(['wait', 'retry']).optional(),
  priority: z.int().min(0).max(100).optional().describe("Among the tenant's own runs; higher first; 50 by default"),
  labels: z.record(label.key, label.value).optional(),
  dryRun: z.boolean().optional().describe('Submit nothing: answer 200 with a quote of what would become of it'),
});
export type CreateRunRequest = z.infer<typeof createRunRequest>;

/** The request with every default filled in: what is stored, and what the agent receives. */
export const runSpec = createRunRequest
  .omit({ dryRun: true })
  .required({
    env: true,
    init: true,
    readOnlyRootfs: true,
    network: true,
    timeoutMs: true,
    stopGraceMs: true,
    maxAttempts: true,
    onQuota: true,
    onNodeLost: true,
    priority: true,
    labels: true,
  })
  .extend({
    resources,
    // Runs of before there was a choice had this one.
    runtimeClass: z.enum(runtimeClasses).default('berth'),
  });
export type RunSpec = z.infer<typeof runSpec>;

/** Why a run did not succeed. `user`: the container's own doing; `platform`: ours. */
export const runFailure = z.object({
  code: z.enum([
    'nonZeroExit',
    'signaled',
    'outOfMemory',
    'timeout',
    'imagePullFailed',
    'startFailed',
    'nodeLost',
    'preempted',
    'internal',
  ]),
  message: z.string(),
  blame: z.enum(['user', 'platform']),
});
export type RunFailure = z.infer<typeof runFailure>;

/** What a container used beside memory and cpu time, as its cgroup counted it; null: the node's kernel does not count it. */
export const cgroupUsage = z.object({
  cpuUserUs: z.int().nullable(),
  cpuSystemUs: z.int().nullable(),
  cpuPeriods: z.int().nullable(),
  cpuThrottledPeriods: z.int().nullable(),
  cpuThrottledUs: z.int().nullable(),
  oomKills: z.int().nullable(),
  readBytes: z.int().nullable(),
  writtenBytes: z.int().nullable(),
  peakPids: z.int().nullable(),
});
export type CgroupUsage = z.infer<typeof cgroupUsage>;

/** What an attempt used, as its cgroup counted it; null: not known, or not counted by its node's kernel. */
export const usage = z.object({
  peakMemoryBytes: z.int().nullable(),
  cpuTimeMs: z.number().nullable(),
  cpuUserMs: z.number().nullable(),
  cpuSystemMs: z.number().nullable(),
  cpuPeriods: z.int().nullable().describe('Tenths of a second in which it wanted the cpu'),
  cpuThrottledPeriods: z.int().nullable().describe('Those in which it had to wait for its limit'),
  cpuThrottledMs: z.number().nullable(),
  oomKills: z.int().nullable().describe('Its processes that the kernel killed for its memory'),
  readBytes: z.int().nullable().describe('From disks'),
  writtenBytes: z.int().nullable().describe('To disks; under cgroup v1 only what was not left to the page cache'),
  peakPids: z.int().nullable().describe('Processes and threads at a time'),
});

export const attempt = z.object({
  number: z.int(),
  epoch: z.int(),
  nodeId: z.string().nullable(),
  placedAt: timestamp,
  startedAt: timestamp.nullable(),
  finishedAt: timestamp.nullable(),
  exitCode: z.int().nullable(),
  signal: z.int().nullable(),
  oomKilled: z.boolean(),
  failure: runFailure.nullable(),
  usage,
});

export const run = z.object({
  id: runId,
  tenant: z.string(),
  state: runState,
  waitingFor: waitingFor.nullable(),
  waitingReason: z.string().nullable().describe('The blocking dimension, in words'),
  image: z.string().describe('As submitted'),
  digest: z.string().describe('What the tag pointed to at submission; every node pulls this'),
  spec: runSpec,
  exitCode: z.int().nullable(),
  signal: z.int().nullable(),
  failure: runFailure.nullable(),
  cancelRequested: z.boolean(),
  attempts: z.array(attempt),
  createdAt: timestamp,
  startedAt: timestamp.nullable(),
  finishedAt: timestamp.nullable(),
});
export type Run = z.infer<typeof run>;

export const runList = z.object({ items: z.array(run), nextCursor: z.string().nullable() });

export const listRunsQuery = z.strictObject({
  state: runState.optional(),
  label: text(512).optional().describe('key=value'),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: text(512).optional(),
});

/** `GET /v1/runs/:id/wait`: answers 200 with the run once it is terminal, or as it stands when `timeoutMs` has passed. */
export const waitQuery = z.strictObject({ timeoutMs: z.coerce.number().int().min(0).max(300_000).default(60_000) });

/** `GET /v1/runs/:id/logs`: `text/plain` of both streams in order; with `follow`, until the run ends; with `format=ndjson`, one `logRecord` a line. */
export const logsQuery = z.strictObject({
  follow: z.stringbool().default(false),
  format: z.enum(['text', 'ndjson']).default('text'),
  stream: z.enum(['stdout', 'stderr']).optional(),
  attempt: z.coerce.number().int().min(1).optional().describe('The last one by default'),
});
export const logRecord = z.object({
  time: timestamp,
  stream: z.enum(['stdout', 'stderr']),
  partial: z.boolean(),
  text: z.string().describe('UTF-8; other bytes become U+FFFD'),
});

/** One entry of a run's append-only history. `id` is a cursor: `Last-Event-ID` resumes after it. */
export const runEvent = z.object({
  id: z.string(),
  runId,
  type: z.enum([
    'created',
    'admitted',
    'waiting',
    'placed',
    'preparing',
    'running',
    'stopping',
    'retrying',
    'succeeded',
    'failed',
    'canceled',
    'cancelRequested',
  ]),
  state: runState,
  attempt: z.int().nullable(),
  message: z.string().nullable(),
  at: timestamp,
});
export type RunEvent = z.infer<typeof runEvent>;

/** What the image of a commit is called: `registry.berth/TENANT/NAME:TAG`. */
export const commitRequest = z.strictObject({
  name: z
    .string()
    .max(200)
    .regex(
      /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/,
      'must be lower-case words between slashes',
    )
    .describe("Below the tenant's own name"),
  tag: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/, 'must be 1 to 128 letters, digits, dots, dashes and underscores')
    .default('latest'),
});
export type CommitRequest = z.infer<typeof commitRequest>;

export const commitResult = z.object({
  image: z.string(),
  digest: z.string(),
  layerDigest: z.string(),
  layerBytes: z.int().describe('Compressed'),
});
export type CommitResult = z.infer<typeof commitResult>;

export const fileChange = z.object({
  kind: z.enum(['A', 'C', 'D']).describe('Added, changed or deleted'),
  path: z.string().describe('Absolute; bytes that are no UTF-8 are U+FFFD'),
});
export type FileChange = z.infer<typeof fileChange>;

/** What a run wrote to its filesystem, beside its image. */
export const runDiff = z.object({
  changes: z.array(fileChange).describe('Parents first, names in the order of their bytes'),
  truncated: z.boolean().describe('There are more than are listed'),
});
export type RunDiff = z.infer<typeof runDiff>;

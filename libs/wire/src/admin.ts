import { features } from '@berth/core';
import { z } from 'zod';
import { nodeDisk } from './images.js';
import { nodeId, tenantId, tenantName, timestamp } from './primitives.js';
import { diskLimit, logLimit, resources, timeout } from './run.js';

const amount = () => z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** A tenant's limits, or what is used of them. */
export const quota = z.strictObject({
  concurrentRuns: z.int().min(0).max(1_000_000).describe('Runs that hold a reservation'),
  cpuMillis: z.int().min(0).max(1_000_000_000).describe('Reserved by runs, as all that follow up to pids'),
  memoryBytes: amount(),
  diskBytes: amount().describe('Of writable layers, by runs that bound theirs'),
  pids: amount(),
  logBytes: amount().describe('What runs may write, and what ended ones have written until they are deleted'),
  monthlyCpuMs: amount().describe('Budget of a calendar month (UTC): cpu-milliseconds, reserved from the timeout and settled at the end'),
  monthlyMemoryMibSeconds: amount().describe('The same for memory: MiB times seconds'),
  queuedRuns: amount().describe('Runs that wait for quota'),
  submissionsPerMinute: amount().describe('Accepted submissions of a calendar minute'),
});
export type Quota = z.infer<typeof quota>;

const featureList = z.array(z.enum(features)).max(features.length);
const runLimit = z
  .strictObject({
    cpuMillis: resources.shape.cpuMillis,
    memoryBytes: resources.shape.memoryBytes,
    diskBytes: diskLimit,
    pids: resources.shape.pids,
    logBytes: logLimit,
    timeoutMs: timeout,
  })
  .partial();
const weight = z.int().min(1).max(10_000).describe("Its part of the fleet beside others'; 100 by default");

/** What one run of the tenant gets that does not ask, and what it may ask for at most; what is absent is the operator's, or unbounded. */
export const runLimits = z.strictObject({ defaults: runLimit, maxima: runLimit });
export type RunLimits = z.infer<typeof runLimits>;

/** How long ended runs are kept: a minute to a hundred years. */
const retainRunsMs = z
  .int()
  .min(60_000)
  .max(3_155_760_000_000)
  .nullable()
  .describe('Ended runs are kept for so long; null: as long as the service keeps them');

export const createTenantRequest = z.strictObject({
  name: tenantName,
  quota: quota.partial().optional(),
  runLimits: runLimits.partial().optional(),
  weight: weight.optional(),
  requireDigest: z.boolean().optional(),
  features: featureList.optional(),
  retainRunsMs: retainRunsMs.optional(),
});
/** `runLimits.defaults` and `.maxima`, where given, replace what was there. */
export const updateTenantRequest = createTenantRequest.omit({ name: true });
export const tenant = z.object({
  id: tenantId,
  name: tenantName,
  quota,
  used: quota,
  runLimits,
  weight,
  requireDigest: z.boolean().describe('Refuse tags: runs must name a digest'),
  features: featureList.describe('What its runs may ask for beyond the ordinary'),
  retainRunsMs,
  createdAt: timestamp,
});
export type Tenant = z.infer<typeof tenant>;
export const tenantList = z.object({ items: z.array(tenant) });

export const createJoinTokenRequest = z.strictObject({
  expiresInMs: z
    .int()
    .min(1000)
    .max(30 * 86_400_000)
    .optional(),
  uses: z.int().min(1).max(1000).optional(),
});
export const joinToken = z.object({ token: z.string(), expiresAt: timestamp });

export const nodeState = z.enum(['ready', 'lost', 'draining', 'dead']);
export const node = z.object({
  id: nodeId,
  name: z.string(),
  state: nodeState,
  cpuMillis: z.int(),
  memoryBytes: z.int(),
  diskBytes: z.int().describe('What it can bound writable layers to; 0: it cannot'),
  reserved: z.object({ cpuMillis: z.int(), memoryBytes: z.int(), diskBytes: z.int(), runs: z.int() }),
  agentVersion: z.string(),
  kernel: z.string(),
  cgroupMode: z.enum(['v1', 'v2', 'hybrid']),
  features: z.array(z.string()).describe('What works there beyond the ordinary'),
  disk: nodeDisk.nullable().describe('Null until its agent has told'),
  lastHeartbeatAt: timestamp.nullable(),
  createdAt: timestamp,
});
export type Node = z.infer<typeof node>;
export const nodeList = z.object({ items: z.array(node) });

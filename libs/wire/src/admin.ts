import { features } from '@berth/core';
import { z } from 'zod';
import { keyId, nodeId, tenantId, tenantName, timestamp } from './primitives.js';

/** What a tenant may hold reserved at once. */
export const quota = z.strictObject({
  concurrentRuns: z.int().min(0).max(1_000_000),
  cpuMillis: z.int().min(0).max(1_000_000_000),
  memoryBytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
});
export type Quota = z.infer<typeof quota>;

const featureList = z.array(z.enum(features)).max(features.length);

export const createTenantRequest = z.strictObject({
  name: tenantName,
  quota: quota.partial().optional(),
  requireDigest: z.boolean().optional(),
  features: featureList.optional(),
});
export const updateTenantRequest = createTenantRequest.omit({ name: true });
export const tenant = z.object({
  id: tenantId,
  name: tenantName,
  quota,
  used: quota,
  requireDigest: z.boolean().describe('Refuse tags: runs must name a digest'),
  features: featureList.describe('What its runs may ask for beyond the ordinary'),
  createdAt: timestamp,
});
export type Tenant = z.infer<typeof tenant>;
export const tenantList = z.object({ items: z.array(tenant) });

export const createKeyRequest = z.strictObject({ name: z.string().min(1).max(128), expiresAt: timestamp.optional() });
export const apiKey = z.object({
  id: keyId,
  name: z.string(),
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  revokedAt: timestamp.nullable(),
});
/** The secret is in this one answer and nowhere else; only its hash is stored. */
export const createdKey = apiKey.extend({ secret: z.string() });
export const keyList = z.object({ items: z.array(apiKey) });

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
  reserved: z.object({ cpuMillis: z.int(), memoryBytes: z.int(), runs: z.int() }),
  agentVersion: z.string(),
  kernel: z.string(),
  cgroupMode: z.enum(['v1', 'v2', 'hybrid']),
  features: z.array(z.string()).describe('What works there beyond the ordinary'),
  lastHeartbeatAt: timestamp.nullable(),
  createdAt: timestamp,
});
export type Node = z.infer<typeof node>;
export const nodeList = z.object({ items: z.array(node) });

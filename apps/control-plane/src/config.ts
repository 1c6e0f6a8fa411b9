import { readFileSync } from 'node:fs';
import type { PlacementPolicy, Quota } from '@berth/core';
import type { Retention } from '@berth/store';
import { z } from 'zod';

/** The injection token of `Config`. */
export const CONFIG = Symbol('Config');

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

const flag = (whenUnset: boolean) =>
  z.stringbool({ truthy: ['1', 'on', 'true', 'yes'], falsy: ['0', 'off', 'false', 'no'] }).default(whenUnset);
const port = (whenUnset: number) => z.coerce.number().int().min(0).max(65_535).default(whenUnset);
const whole = (whenUnset: number) => z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER).default(whenUnset);
const dayMs = 24 * 3_600_000;
/** From a minute to a hundred years. */
const kept = (whenUnset: number) =>
  z.coerce
    .number()
    .int()
    .min(60_000)
    .max(36_525 * dayMs)
    .default(whenUnset);
const url = z.url({ protocol: /^https?$/ }).transform((text) => text.replace(/\/$/, ''));
const list = z.string().transform((text) => text.split(',').flatMap((part) => part.trim() || []));

/** Every variable the control plane reads, with its default; docs/contracts.md has the same table. */
const environment = z.object({
  BERTH_HOST: z.string().default('127.0.0.1'),
  BERTH_PORT: port(7070),
  BERTH_ADMIN_HOST: z.string().default('127.0.0.1'),
  BERTH_ADMIN_PORT: port(7071),
  BERTH_INSECURE_LISTEN: flag(false),
  BERTH_TLS_CERT_FILE: z.string().optional(),
  BERTH_TLS_KEY_FILE: z.string().optional(),
  BERTH_DATABASE_URL: z.string().min(1),
  BERTH_DATABASE_POOL: whole(20),
  BERTH_REDIS_URL: z.string().min(1).optional(),
  BERTH_REGISTRY_URL: url.default('http://127.0.0.1:7073'),
  BERTH_REGISTRY_ADVERTISE_URL: url.optional(),
  BERTH_REGISTRY_SECRET: z.string().regex(/^([0-9a-f]{2}){32,}$/i, 'must be at least 32 bytes in hexadecimal'),
  BERTH_REGISTRY_TIMEOUT_MS: whole(5000),
  BERTH_INTERNAL_REGISTRIES: list.default([]),
  BERTH_ADMIN_KEY: z.string().optional(),
  BERTH_PLATFORM: z.enum(['linux/amd64', 'linux/arm64']).default(process.arch === 'arm64' ? 'linux/arm64' : 'linux/amd64'),
  BERTH_QUEUE: flag(true),
  BERTH_SWEEPER: flag(true),
  BERTH_SWEEP_MS: whole(1000),
  BERTH_RETAIN_RUNS_MS: kept(30 * dayMs),
  BERTH_RETAIN_KEYS_MS: kept(7 * dayMs),
  BERTH_HEARTBEAT_MS: whole(5000),
  BERTH_STOP_AFTER_MS: whole(45_000),
  BERTH_LOST_AFTER_MS: whole(75_000),
  BERTH_PULL_TOKEN_MS: whole(15 * 60_000),
  BERTH_DEFAULT_CPU_MILLIS: whole(500),
  BERTH_DEFAULT_MEMORY_BYTES: whole(256 * MiB),
  BERTH_DEFAULT_PIDS: whole(512),
  BERTH_DEFAULT_SHM_BYTES: whole(64 * MiB),
  BERTH_DEFAULT_LOG_BYTES: whole(256 * MiB),
  BERTH_DEFAULT_TIMEOUT_MS: whole(3_600_000),
  BERTH_DEFAULT_STOP_GRACE_MS: whole(10_000),
  BERTH_DEFAULT_QUOTA_RUNS: whole(10),
  BERTH_DEFAULT_QUOTA_CPU_MILLIS: whole(10_000),
  BERTH_DEFAULT_QUOTA_MEMORY_BYTES: whole(10 * GiB),
  BERTH_DEFAULT_QUOTA_DISK_BYTES: whole(100 * GiB),
  BERTH_DEFAULT_QUOTA_PIDS: whole(1_000_000),
  BERTH_DEFAULT_QUOTA_LOG_BYTES: whole(1024 * GiB),
  BERTH_DEFAULT_QUOTA_MONTHLY_CPU_MS: whole(Number.MAX_SAFE_INTEGER),
  BERTH_DEFAULT_QUOTA_MONTHLY_MEMORY_MIB_SECONDS: whole(Number.MAX_SAFE_INTEGER),
  BERTH_DEFAULT_QUOTA_QUEUED_RUNS: whole(100_000),
  BERTH_DEFAULT_QUOTA_SUBMISSIONS_PER_MINUTE: whole(60_000),
  BERTH_PLACEMENT: z.enum(['spread', 'pack']).default('spread'),
  BERTH_DRAIN_MS: z.coerce.number().int().min(0).max(60_000).default(250),
  BERTH_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
});

/** How this process is set up. Read once at the start; nothing else reads the environment. */
export interface Config {
  readonly listen: { readonly host: string; readonly port: number; readonly tls: { readonly cert: Buffer; readonly key: Buffer } | null };
  readonly admin: { readonly host: string; readonly port: number };
  readonly databaseUrl: string;
  /** Connections at most. */
  readonly databasePool: number;
  readonly redisUrl: string | null;
  readonly registry: {
    /** Where `registry.berth` listens, seen from here. */
    readonly url: string;
    /** The same, seen from the nodes. */
    readonly advertisedUrl: string;
    /** Signs pull tokens. */
    readonly secret: Buffer;
    /** Bound of everything a submission asks registries. */
    readonly timeoutMs: number;
    /** Origins of registries that may have an internal address. */
    readonly internalOrigins: readonly string[];
    readonly pullTokenMs: number;
  };
  readonly adminKey: string | null;
  readonly platform: 'linux/amd64' | 'linux/arm64';
  /** False: no wake-ups are published or taken, the sweeper alone places. */
  readonly queue: boolean;
  /** False: nothing is swept, wake-ups alone place. */
  readonly sweeper: boolean;
  readonly sweepMs: number;
  readonly retention: Retention;
  readonly lease: {
    readonly heartbeatMs: number;
    /** T_stop. */
    readonly stopAfterMs: number;
    /** T_lost. */
    readonly lostAfterMs: number;
  };
  readonly defaults: {
    readonly resources: {
      readonly cpuMillis: number;
      readonly memoryBytes: number;
      readonly pids: number;
      readonly shmBytes: number;
      readonly logBytes: number;
    };
    readonly timeoutMs: number;
    readonly stopGraceMs: number;
    readonly quota: Quota;
  };
  readonly placement: PlacementPolicy;
  /** A replica that was told to stop takes connections until none has come for so long: those on their way must not be cut. */
  readonly drainMs: number;
  readonly logLevel: string;
}

/** Reads the environment. Throws an Error whose message names each bad variable and the fix. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  // An empty variable counts as unset, as systemd and compose files write it.
  const parsed = environment.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== '')));
  if (!parsed.success) {
    throw new Error(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  }
  const e = parsed.data;
  const tls = readTls(e.BERTH_TLS_CERT_FILE, e.BERTH_TLS_KEY_FILE);
  refuseOpenListener('BERTH_HOST', e.BERTH_HOST, tls !== null || e.BERTH_INSECURE_LISTEN);
  refuseOpenListener('BERTH_ADMIN_HOST', e.BERTH_ADMIN_HOST, e.BERTH_INSECURE_LISTEN);
  if (e.BERTH_LOST_AFTER_MS <= e.BERTH_STOP_AFTER_MS || e.BERTH_STOP_AFTER_MS <= 2 * e.BERTH_HEARTBEAT_MS) {
    throw new Error('BERTH_LOST_AFTER_MS must exceed BERTH_STOP_AFTER_MS, which must exceed two heartbeats (BERTH_HEARTBEAT_MS)');
  }
  return {
    listen: { host: e.BERTH_HOST, port: e.BERTH_PORT, tls },
    admin: { host: e.BERTH_ADMIN_HOST, port: e.BERTH_ADMIN_PORT },
    databaseUrl: e.BERTH_DATABASE_URL,
    databasePool: e.BERTH_DATABASE_POOL,
    redisUrl: e.BERTH_REDIS_URL ?? null,
    registry: {
      url: e.BERTH_REGISTRY_URL,
      advertisedUrl: e.BERTH_REGISTRY_ADVERTISE_URL ?? e.BERTH_REGISTRY_URL,
      secret: Buffer.from(e.BERTH_REGISTRY_SECRET, 'hex'),
      timeoutMs: e.BERTH_REGISTRY_TIMEOUT_MS,
      internalOrigins: e.BERTH_INTERNAL_REGISTRIES,
      pullTokenMs: e.BERTH_PULL_TOKEN_MS,
    },
    adminKey: e.BERTH_ADMIN_KEY ?? null,
    platform: e.BERTH_PLATFORM,
    queue: e.BERTH_QUEUE,
    sweeper: e.BERTH_SWEEPER,
    sweepMs: e.BERTH_SWEEP_MS,
    retention: { runsMs: e.BERTH_RETAIN_RUNS_MS, keysMs: e.BERTH_RETAIN_KEYS_MS },
    lease: { heartbeatMs: e.BERTH_HEARTBEAT_MS, stopAfterMs: e.BERTH_STOP_AFTER_MS, lostAfterMs: e.BERTH_LOST_AFTER_MS },
    defaults: {
      resources: {
        cpuMillis: e.BERTH_DEFAULT_CPU_MILLIS,
        memoryBytes: e.BERTH_DEFAULT_MEMORY_BYTES,
        pids: e.BERTH_DEFAULT_PIDS,
        shmBytes: e.BERTH_DEFAULT_SHM_BYTES,
        logBytes: e.BERTH_DEFAULT_LOG_BYTES,
      },
      timeoutMs: e.BERTH_DEFAULT_TIMEOUT_MS,
      stopGraceMs: e.BERTH_DEFAULT_STOP_GRACE_MS,
      quota: {
        concurrentRuns: e.BERTH_DEFAULT_QUOTA_RUNS,
        cpuMillis: e.BERTH_DEFAULT_QUOTA_CPU_MILLIS,
        memoryBytes: e.BERTH_DEFAULT_QUOTA_MEMORY_BYTES,
        diskBytes: e.BERTH_DEFAULT_QUOTA_DISK_BYTES,
        pids: e.BERTH_DEFAULT_QUOTA_PIDS,
        logBytes: e.BERTH_DEFAULT_QUOTA_LOG_BYTES,
        monthlyCpuMs: e.BERTH_DEFAULT_QUOTA_MONTHLY_CPU_MS,
        monthlyMemoryMibSeconds: e.BERTH_DEFAULT_QUOTA_MONTHLY_MEMORY_MIB_SECONDS,
        queuedRuns: e.BERTH_DEFAULT_QUOTA_QUEUED_RUNS,
        submissionsPerMinute: e.BERTH_DEFAULT_QUOTA_SUBMISSIONS_PER_MINUTE,
      },
    },
    placement: e.BERTH_PLACEMENT,
    drainMs: e.BERTH_DRAIN_MS,
    logLevel: e.BERTH_LOG_LEVEL,
  };
}

function readTls(certFile: string | undefined, keyFile: string | undefined): { cert: Buffer; key: Buffer } | null {
  if (certFile === undefined && keyFile === undefined) return null;
  if (certFile === undefined || keyFile === undefined) throw new Error('BERTH_TLS_CERT_FILE and BERTH_TLS_KEY_FILE must be set together');
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
}

function refuseOpenListener(variable: string, host: string, allowed: boolean): void {
  if (allowed || isLoopback(host)) return;
  throw new Error(
    `${variable}=${host} is not loopback: keys would cross the network in clear. Set BERTH_TLS_CERT_FILE and BERTH_TLS_KEY_FILE, ` +
      'or BERTH_INSECURE_LISTEN=1 where a proxy or a private network protects the traffic',
  );
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

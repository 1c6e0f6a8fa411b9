import { homedir, hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RuntimeClass } from '@berth/core';
import { z } from 'zod';
import { type DiskLimitChoice, diskLimitChoices } from './host/disk-limit.js';
import type { DiskMarks } from './images/collection-goal.js';
import type { EgressChoice } from './network/egress.js';
import { isLinkSubnet } from './network/egress-plan.js';
import { findRuntimes } from './runtimes/node-runtimes.js';

/** What an agent needs to know before it starts. Paths are absolute. */
export interface AgentConfig {
  /** The control plane's base URL. */
  readonly url: string;
  /** Buys a credential on the first start. */
  readonly joinToken: string | undefined;
  readonly nodeName: string;
  /** What the node offers; undefined: the whole machine. */
  readonly cpuMillis: number | undefined;
  readonly memoryBytes: number | undefined;
  /** Undefined: what the way of bounding it suggests. */
  readonly diskBytes: number | undefined;
  readonly diskLimit: DiskLimitChoice;
  /** Everything that the agent keeps. */
  readonly directory: string;
  /** What a reboot may empty: runtime state and claimed ids. Shared by the agents of one machine. */
  readonly runDirectory: string;
  readonly nativeDir: string;
  /** The OCI runtime. */
  readonly runtimeProgram: string;
  /** Further OCI runtimes that runs may ask for, by their class. */
  /** Null: containers have no network. */
  readonly egress: EgressChoice | null;
  readonly runtimes: ReadonlyMap<RuntimeClass, string>;
  /** So many sandboxes wait for a run, of each kind of network; 0: none. */
  readonly poolSandboxes: number;
  /** Sandboxes at most that wait with the root of an image that its tenant ran lately, and after how long without such a run there are none for it. */
  readonly poolRoots: number;
  readonly poolRootIdleMs: number;
  /** 0 picks a free one. */
  readonly metricsPort: number;
  /** Whether a clean stop takes the containers along. */
  readonly stopContainers: boolean;
  /** Beyond so many bytes of log a container's output is dropped. */
  readonly logMaxBytes: number;
  /** What layers become; `auto`: the best that this machine mounts. */
  readonly snapshotter: 'auto' | 'erofs' | 'overlay';
  /** When unused images are removed, and how often that is looked at. */
  readonly images: { readonly marks: DiskMarks; readonly checkMs: number };
  readonly logLevel: string;
}

/** The part of the repository that this file was built into: apps/node-agent/dist. */
const here = dirname(fileURLToPath(import.meta.url));

const percent = z.coerce.number().int().min(1).max(100);
const count = z.coerce.number().int().min(1).optional();
const address = z.union([z.ipv4(), z.ipv6()], 'must be IP addresses, with commas between');
const network = z.union(
  [z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()],
  'must be addresses or networks such as 10.1.0.0/16, with commas between',
);
const list = (item: z.ZodType<string, string>) =>
  z
    .string()
    .default('')
    .transform((text) => text.split(',').filter(Boolean))
    .pipe(z.array(item));
const ipv4Net = z
  .cidrv4()
  .refine((text) => isLinkSubnet(text), 'must be the first address of a network of 16384 addresses, such as 10.213.0.0/18');
const schema = z.object({
  BERTH_HOME: z.string().min(1).optional(),
  BERTH_URL: z.url({ protocol: /^https?$/ }).default('http://127.0.0.1:7070'),
  BERTH_JOIN_TOKEN: z.string().min(1).optional(),
  BERTH_AGENT_DIR: z.string().min(1).optional(),
  BERTH_AGENT_RUN_DIR: z.string().min(1).default('/run/berth'),
  BERTH_AGENT_METRICS_PORT: z.coerce.number().int().min(0).max(65_535).default(7072),
  BERTH_AGENT_STOP_CONTAINERS: z.enum(['0', '1']).default('0'),
  BERTH_AGENT_LOG_MAX_BYTES: z.coerce
    .number()
    .int()
    .min(4096)
    .default(256 * 1024 * 1024),
  BERTH_SNAPSHOTTER: z.enum(['auto', 'erofs', 'overlay']).default('auto'),
  BERTH_IMAGES_HIGH_PERCENT: percent.default(85),
  BERTH_IMAGES_LOW_PERCENT: percent.default(80),
  BERTH_IMAGES_MAX_BYTES: count,
  BERTH_IMAGES_CHECK_MS: z.coerce.number().int().min(100).max(86_400_000).default(60_000),
  BERTH_NODE_NAME: z.string().min(1).max(128).optional(),
  BERTH_NODE_CPU_MILLIS: count,
  BERTH_NODE_MEMORY_BYTES: count,
  BERTH_NODE_DISK_BYTES: count,
  BERTH_DISK_LIMIT: z.enum(diskLimitChoices).default('auto'),
  BERTH_NATIVE_DIR: z.string().min(1).optional(),
  BERTH_OCI_RUNTIME: z.string().min(1).optional(),
  BERTH_EGRESS: z.enum(['0', '1']).default('0'),
  BERTH_EGRESS_SUBNET: ipv4Net.default('10.213.0.0/18'),
  BERTH_EGRESS_DNS: list(address),
  BERTH_EGRESS_ALLOW: list(network),
  BERTH_EGRESS_DENY: list(network),
  BERTH_RUNTIME_CLASSES: z.string().min(1).optional(),
  BERTH_POOL_SANDBOXES: z.coerce.number().int().min(0).max(256).default(4),
  BERTH_POOL_ROOTS: z.coerce.number().int().min(0).max(256).default(4),
  BERTH_POOL_ROOT_IDLE_MS: z.coerce.number().int().min(100).max(86_400_000).default(300_000),
  BERTH_LOG_LEVEL: z.string().default('info'),
});

/** Reads the environment (docs/contracts.md); throws an Error that names each variable which is not as it should be. */
export function readConfig(env: NodeJS.ProcessEnv): AgentConfig {
  // An empty variable is as good as none: shells and unit files make them easily.
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== '')));
  if (!parsed.success) throw new Error(parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
  const set = parsed.data;
  if (set.BERTH_IMAGES_LOW_PERCENT > set.BERTH_IMAGES_HIGH_PERCENT) {
    throw new Error(`BERTH_IMAGES_LOW_PERCENT: must be at most BERTH_IMAGES_HIGH_PERCENT, ${set.BERTH_IMAGES_HIGH_PERCENT}`);
  }
  const home = set.BERTH_HOME ?? (process.getuid?.() === 0 ? '/var/lib/berth' : join(homedir(), '.berth'));
  const nativeDir = resolve(set.BERTH_NATIVE_DIR ?? join(here, '../../../native/build'));
  return {
    url: set.BERTH_URL,
    joinToken: set.BERTH_JOIN_TOKEN,
    nodeName: set.BERTH_NODE_NAME ?? hostname(),
    cpuMillis: set.BERTH_NODE_CPU_MILLIS,
    memoryBytes: set.BERTH_NODE_MEMORY_BYTES,
    diskBytes: set.BERTH_NODE_DISK_BYTES,
    diskLimit: set.BERTH_DISK_LIMIT,
    directory: resolve(set.BERTH_AGENT_DIR ?? join(home, 'agent')),
    runDirectory: resolve(set.BERTH_AGENT_RUN_DIR),
    nativeDir,
    runtimeProgram: set.BERTH_OCI_RUNTIME ?? join(nativeDir, 'berth-runtime'),
    egress:
      set.BERTH_EGRESS === '0'
        ? null
        : {
            subnet: set.BERTH_EGRESS_SUBNET.slice(0, set.BERTH_EGRESS_SUBNET.indexOf('/')),
            resolvers: set.BERTH_EGRESS_DNS,
            allowed: set.BERTH_EGRESS_ALLOW,
            denied: set.BERTH_EGRESS_DENY,
          },
    runtimes: furtherRuntimes(set.BERTH_RUNTIME_CLASSES, env.PATH ?? ''),
    poolSandboxes: set.BERTH_POOL_SANDBOXES,
    // Whoever wants no sandboxes made ahead means these too.
    poolRoots: set.BERTH_POOL_SANDBOXES === 0 ? 0 : set.BERTH_POOL_ROOTS,
    poolRootIdleMs: set.BERTH_POOL_ROOT_IDLE_MS,
    metricsPort: set.BERTH_AGENT_METRICS_PORT,
    stopContainers: set.BERTH_AGENT_STOP_CONTAINERS === '1',
    logMaxBytes: set.BERTH_AGENT_LOG_MAX_BYTES,
    snapshotter: set.BERTH_SNAPSHOTTER,
    images: {
      marks: {
        highPercent: set.BERTH_IMAGES_HIGH_PERCENT,
        lowPercent: set.BERTH_IMAGES_LOW_PERCENT,
        imagesMaxBytes: set.BERTH_IMAGES_MAX_BYTES ?? null,
      },
      checkMs: set.BERTH_IMAGES_CHECK_MS,
    },
    logLevel: set.BERTH_LOG_LEVEL,
  };
}

function furtherRuntimes(choice: string | undefined, path: string): ReadonlyMap<RuntimeClass, string> {
  try {
    return findRuntimes(choice, path);
  } catch (error) {
    throw new Error(`BERTH_RUNTIME_CLASSES: ${(error as Error).message}`, { cause: error });
  }
}

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** How a registry runs. Times in milliseconds, sizes in bytes. */
export interface RegistryConfig {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** null: plain HTTP. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | null;
  readonly adminHost: string;
  /** Serves /metrics, /healthz and /readyz, without credentials. */
  readonly adminPort: number;
  readonly directory: string;
  readonly databaseUrl: string;
  /** With which the control plane signs pull tokens. */
  readonly tokenSecret: Uint8Array;
  /** For how long a looked-up key counts without asking again: revocation takes that long at most. */
  readonly keyCacheMs: number;
  readonly maxBlobBytes: number;
  readonly maxUploadsPerTenant: number;
  readonly uploadExpiryMs: number;
  /** How long what no manifest needs is kept: a push must fit into it. */
  readonly sweepGraceMs: number;
  readonly sweepEveryMs: number;
  /** A connection on which nothing moves for so long is closed. */
  readonly idleTimeoutMs: number;
}

const hourMs = 3_600_000;
const maxKeyCacheMs = 5000;

/** Reads the environment (docs/contracts.md). Throws an Error that names the variable and what it must be. */
export function configFrom(environment: NodeJS.ProcessEnv): RegistryConfig {
  const home = textOf(environment, 'BERTH_HOME') ?? (process.getuid?.() === 0 ? '/var/lib/berth' : join(homedir(), '.berth'));
  const secretText = required(environment, 'BERTH_REGISTRY_SECRET');
  if (!/^([0-9a-fA-F]{2}){32,}$/.test(secretText)) throw new Error('BERTH_REGISTRY_SECRET must be at least 32 bytes in hex');
  const host = textOf(environment, 'BERTH_REGISTRY_HOST') ?? '127.0.0.1';
  const adminHost = textOf(environment, 'BERTH_ADMIN_HOST') ?? '127.0.0.1';
  const tls = tlsFrom(environment);
  const insecure = ['1', 'on', 'true', 'yes'].includes(environment.BERTH_INSECURE_LISTEN ?? '');
  refuseOpenListener('BERTH_REGISTRY_HOST', host, insecure || tls !== null);
  refuseOpenListener('BERTH_ADMIN_HOST', adminHost, insecure);
  return {
    host,
    tls,
    adminHost,
    port: number(environment, 'BERTH_REGISTRY_PORT', 7073, 0, 65_535),
    adminPort: number(environment, 'BERTH_REGISTRY_ADMIN_PORT', 7074, 0, 65_535),
    directory: textOf(environment, 'BERTH_REGISTRY_DIR') ?? join(home, 'registry'),
    databaseUrl: required(environment, 'BERTH_DATABASE_URL'),
    tokenSecret: Buffer.from(secretText, 'hex'),
    keyCacheMs: number(environment, 'BERTH_REGISTRY_KEY_CACHE_MS', 3000, 0, maxKeyCacheMs),
    maxBlobBytes: number(environment, 'BERTH_REGISTRY_MAX_BLOB_BYTES', 32 * 1024 ** 3, 1, Number.MAX_SAFE_INTEGER),
    maxUploadsPerTenant: number(environment, 'BERTH_REGISTRY_MAX_UPLOADS', 256, 1, 1_000_000),
    uploadExpiryMs: number(environment, 'BERTH_REGISTRY_UPLOAD_EXPIRY_MS', hourMs, 1000, 30 * 24 * hourMs),
    sweepGraceMs: number(environment, 'BERTH_REGISTRY_SWEEP_GRACE_MS', 24 * hourMs, 1000, 365 * 24 * hourMs),
    sweepEveryMs: number(environment, 'BERTH_REGISTRY_SWEEP_EVERY_MS', hourMs, 1000, 24 * hourMs),
    idleTimeoutMs: number(environment, 'BERTH_REGISTRY_IDLE_TIMEOUT_MS', 120_000, 1000, hourMs),
  };
}

function tlsFrom(environment: NodeJS.ProcessEnv): { cert: Buffer; key: Buffer } | null {
  const certFile = textOf(environment, 'BERTH_TLS_CERT_FILE');
  const keyFile = textOf(environment, 'BERTH_TLS_KEY_FILE');
  if (certFile === undefined && keyFile === undefined) return null;
  if (certFile === undefined || keyFile === undefined) throw new Error('BERTH_TLS_CERT_FILE and BERTH_TLS_KEY_FILE must be set together');
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
}

function refuseOpenListener(variable: string, host: string, allowed: boolean): void {
  if (allowed || host === 'localhost' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(host)) return;
  throw new Error(
    `${variable}=${host} is not loopback: keys would cross the network in clear. Set BERTH_TLS_CERT_FILE and BERTH_TLS_KEY_FILE, ` +
      'or BERTH_INSECURE_LISTEN=1 where a proxy or a private network protects the traffic',
  );
}

/** An empty variable counts as unset, as systemd and compose files write it. */
function textOf(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  return environment[name] === '' ? undefined : environment[name];
}

function required(environment: NodeJS.ProcessEnv, name: string): string {
  const value = textOf(environment, name);
  if (value === undefined) throw new Error(`${name} must be set`);
  return value;
}

function number(environment: NodeJS.ProcessEnv, name: string, otherwise: number, min: number, max: number): number {
  const text = textOf(environment, name);
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!/^[0-9]+$/.test(text) || value < min || value > max) throw new Error(`${name} must be a whole number from ${min} to ${max}`);
  return value;
}

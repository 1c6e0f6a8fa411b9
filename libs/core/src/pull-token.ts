import { createHmac, timingSafeEqual } from 'node:crypto';

/*
 * Short-lived tokens with which nodes and the control plane speak to the embedded registry: "bpull_" base64url(payload JSON) "." base64url(HMAC-SHA256 over the
 * payload's base64url text). They carry their own claims, so the registry needs no lookup and a node holds no tenant's key.
 */
export const registryActions = ['pull', 'push', 'delete'] as const;
export type RegistryAction = (typeof registryActions)[number];

export interface PullTokenPayload {
  /** Repositories as `tenant/name`. */
  readonly repositories: readonly string[];
  /** A tenant's name: opens all of its repositories, and the lists of them. */
  readonly tenant?: string;
  readonly actions: readonly RegistryAction[];
  /** Unix seconds; not valid from then on. */
  readonly exp: number;
}

const prefix = 'bpull_';

/** `secret` is at least 32 bytes. */
export function mintPullToken(payload: PullTokenPayload, secret: Uint8Array): string {
  if (secret.length < 32) throw new RangeError('the registry secret must have at least 32 bytes');
  const claims = Buffer.from(JSON.stringify(payload), 'utf8').toString('base64url');
  return `${prefix}${claims}.${sign(claims, secret).toString('base64url')}`;
}

/** The payload of a token that this secret signed and that has not expired at `nowMs` (Unix milliseconds); null for everything else. */
export function verifyPullToken(token: string, secret: Uint8Array, nowMs: number): PullTokenPayload | null {
  const match = /^bpull_([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/.exec(token);
  if (match === null) return null;
  const [, claims = '', signature = ''] = match;
  const expected = sign(claims, secret);
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
  const payload = parsePayload(Buffer.from(claims, 'base64url').toString('utf8'));
  return payload !== null && nowMs < payload.exp * 1000 ? payload : null;
}

/** Whether a text has the shape of a pull token. */
export function isPullToken(text: string): boolean {
  return text.startsWith(prefix);
}

function sign(claims: string, secret: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(claims).digest();
}

function parsePayload(text: string): PullTokenPayload | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { repositories, tenant, actions, exp } = value as Record<string, unknown>;
  if (!Array.isArray(repositories) || !repositories.every((r) => typeof r === 'string')) return null;
  if (tenant !== undefined && typeof tenant !== 'string') return null;
  if (!Array.isArray(actions) || !actions.every((a) => registryActions.includes(a))) return null;
  if (typeof exp !== 'number' || !Number.isFinite(exp)) return null;
  return { repositories, actions, exp, ...(tenant === undefined ? {} : { tenant }) };
}

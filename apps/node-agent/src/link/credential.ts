import { setTimeout as sleep } from 'node:timers/promises';
import { joinResponse } from '@berth/wire';
import type { Logger } from 'pino';
import { z } from 'zod';
import { readIfPresent, writeDurable } from '../host/durable-file.js';
import { backoffMs } from './backoff.js';

const credentialSchema = z.object({ nodeId: z.string(), credential: z.string() });

/** Who this node is to its control plane. */
export type NodeCredential = z.infer<typeof credentialSchema>;

export interface JoinOptions {
  /** Where the credential is kept, 0600. */
  readonly path: string;
  /** The control plane's base URL. */
  readonly url: string;
  readonly name: string;
  readonly joinToken: string | undefined;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** The control plane refused the join token, or there is none. Trying again would change nothing. */
export class JoinRefused extends Error {
  override readonly name = 'JoinRefused';
}

/** The kept credential, or one that the join token buys. Waits for a control plane that cannot be reached; throws JoinRefused. */
export async function obtainCredential(options: JoinOptions): Promise<NodeCredential> {
  const kept = await readIfPresent(options.path);
  if (kept !== null) return credentialSchema.parse(JSON.parse(kept));
  if (options.joinToken === undefined) {
    throw new JoinRefused(`this node has no credential yet: set BERTH_JOIN_TOKEN to a join token of ${options.url}`);
  }
  for (let failures = 1; ; failures++) {
    const credential = await join(options, options.joinToken);
    if (credential !== null) {
      await writeDurable(options.path, JSON.stringify(credential), 0o600);
      return credential;
    }
    await sleep(backoffMs(failures, Math.random()), undefined, { signal: options.signal });
  }
}

/** Null when another try may help. */
async function join(options: JoinOptions, token: string): Promise<NodeCredential | null> {
  const url = new URL('/v1/nodes/join', options.url);
  let response: Response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token, name: options.name }),
      redirect: 'error',
      signal: AbortSignal.any([options.signal, AbortSignal.timeout(10_000)]),
    });
  } catch (error) {
    options.signal.throwIfAborted();
    options.log.warn({ err: error, url: url.origin }, 'the control plane cannot be reached');
    return null;
  }
  if (response.ok) return joinResponse.parse(await response.json());
  const answer = (await response.text()).slice(0, 1000);
  if (response.status >= 500 || response.status === 429) {
    options.log.warn({ status: response.status }, 'the control plane cannot join nodes now');
    return null;
  }
  throw new JoinRefused(`the control plane refused the join token (${response.status}): ${answer}`);
}

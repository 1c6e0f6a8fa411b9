import { setTimeout as sleep } from 'node:timers/promises';
import { problem } from '@berth/wire';
import { ProblemError, ServiceError } from '../failures.js';

/** A contract of libs/wire. */
export interface Contract<Value> {
  safeParse(value: unknown): { readonly success: true; readonly data: Value } | { readonly success: false };
}

export interface ApiRequest {
  readonly method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Repeat when no answer came or the service was away: only for what may arrive twice. GET and DELETE always may. */
  readonly repeatable?: boolean;
  /** For how long to repeat: little by default, so that an absent service is told soon. */
  readonly patienceMs?: number;
}

/** How long a service may be away, for a restart say, before work in progress is given up. */
export const longPatienceMs = 60_000;
const shortPatienceMs = 1500;
const firstPauseMs = 200;
const longestPauseMs = 2000;

/** Speaks the HTTP API. Answers are checked against the contracts, refusals become ProblemError, silence becomes ServiceError. */
export class ApiClient {
  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  async json<Value>(contract: Contract<Value>, path: string, request: ApiRequest = {}): Promise<Value> {
    const text = await this.repeat(request, async () => this.reached(async () => (await this.once(path, request)).text()));
    const parsed = contract.safeParse(parseJson(text));
    if (!parsed.success) throw new ServiceError(`${this.url} answered ${path} in a way that this version does not understand`);
    return parsed.data;
  }

  async nothing(path: string, request: ApiRequest): Promise<void> {
    await this.repeat(request, async () => this.reached(async () => (await this.once(path, request)).arrayBuffer()));
  }

  /** The body as it comes; ends in an error when the connection breaks. */
  async stream(path: string, request: ApiRequest = {}): Promise<AsyncIterable<Uint8Array>> {
    const { body } = await this.repeat(request, () => this.once(path, request));
    return body ?? new ReadableStream<Uint8Array>({ start: (controller) => controller.close() });
  }

  private async repeat<Answer>(request: ApiRequest, action: () => Promise<Answer>): Promise<Answer> {
    const repeatable = request.repeatable ?? ['GET', 'DELETE'].includes(request.method ?? 'GET');
    const deadline = performance.now() + (repeatable ? (request.patienceMs ?? shortPatienceMs) : 0);
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        return await action();
      } catch (error) {
        if (!passesByItself(error) || performance.now() + pauseMs > deadline) throw error;
      }
      await sleep(pauseMs);
    }
  }

  private async once(path: string, request: ApiRequest): Promise<Response> {
    const url = new URL(path, this.url);
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value));
    const headers: Record<string, string> = { authorization: `Bearer ${this.key}`, ...request.headers };
    if (request.body !== undefined) headers['content-type'] = 'application/json';
    const body = request.body === undefined ? null : JSON.stringify(request.body);
    const response = await this.reached(() => fetch(url, { method: request.method ?? 'GET', headers, body, redirect: 'error' }));
    if (response.ok) return response;

    const parsed = problem.safeParse(parseJson(await this.reached(() => response.text())));
    if (!parsed.success) throw new ServiceError(`${this.url} answered ${response.status}: that is not Berth, or a proxy stands before it`);
    const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
    throw new ProblemError(parsed.data, Number.isFinite(retryAfter) ? retryAfter : null);
  }

  /** Turns what fetch throws, from the connection to the last byte, into a ConnectionError. */
  private async reached<Answer>(action: () => Promise<Answer>): Promise<Answer> {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const { code, message } = (error.cause ?? error) as { code?: string; message?: string };
      throw new ConnectionError(`${this.url} cannot be reached (${code ?? message}). Is Berth running there?`);
    }
  }
}

/** Over quota is an answer; only a service that is away, or says that it is, may be back in a moment. */
function passesByItself(error: unknown): boolean {
  return error instanceof ConnectionError || (error instanceof ProblemError && error.problem.status === 503);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

class ConnectionError extends ServiceError {}

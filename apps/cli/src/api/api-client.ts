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
  readonly signal?: AbortSignal | undefined;
  /** Repeat when no answer came or the service was away: only for what may arrive twice. GET and DELETE always may. */
  readonly repeatable?: boolean;
}

const attempts = 4;
const firstPauseMs = 200;

/** Speaks the HTTP API. Answers are checked against the contracts, refusals become ProblemError, silence becomes ServiceError. */
export class ApiClient {
  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  async json<Value>(contract: Contract<Value>, path: string, request: ApiRequest = {}): Promise<Value> {
    const response = await this.send(path, request);
    const parsed = contract.safeParse(await response.json().catch(() => undefined));
    if (!parsed.success) throw new ServiceError(`${this.url} answered ${path} in a way that this version does not understand`);
    return parsed.data;
  }

  async nothing(path: string, request: ApiRequest): Promise<void> {
    await (await this.send(path, request)).arrayBuffer();
  }

  /** The body as it comes; ends in an error when the connection breaks. */
  async stream(path: string, request: ApiRequest = {}): Promise<AsyncIterable<Uint8Array>> {
    const { body } = await this.send(path, request);
    return body ?? new ReadableStream<Uint8Array>({ start: (controller) => controller.close() });
  }

  private async send(path: string, request: ApiRequest): Promise<Response> {
    const repeatable = request.repeatable ?? ['GET', 'DELETE'].includes(request.method ?? 'GET');
    for (let attempt = 1; ; attempt += 1) {
      const last = !repeatable || attempt === attempts;
      try {
        const response = await this.once(path, request);
        if (response.ok) return response;
        const refusal = await this.refusal(response);
        // Only what passes by itself: over quota is an answer, not an outage.
        if (last || response.status !== 503) throw refusal;
      } catch (error) {
        if (last || !(error instanceof ConnectionError)) throw error;
      }
      await sleep(firstPauseMs * 2 ** (attempt - 1), undefined, { signal: request.signal });
    }
  }

  private async once(path: string, request: ApiRequest): Promise<Response> {
    const url = new URL(path, this.url);
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value));
    const headers: Record<string, string> = { authorization: `Bearer ${this.key}`, ...request.headers };
    if (request.body !== undefined) headers['content-type'] = 'application/json';
    try {
      return await fetch(url, {
        method: request.method ?? 'GET',
        headers,
        body: request.body === undefined ? null : JSON.stringify(request.body),
        signal: request.signal ?? null,
        redirect: 'error',
      });
    } catch (error) {
      if (request.signal?.aborted === true) throw error;
      const { cause } = error as { cause?: { code?: string; message?: string } };
      throw new ConnectionError(`${this.url} cannot be reached (${cause?.code ?? cause?.message ?? 'no answer'}). Is Berth running there?`);
    }
  }

  private async refusal(response: Response): Promise<Error> {
    const body: unknown = await response.json().catch(() => undefined);
    const parsed = problem.safeParse(body);
    if (!parsed.success) return new ServiceError(`${this.url} answered ${response.status}: that is not Berth, or a proxy stands before it`);
    const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
    return new ProblemError(parsed.data, Number.isFinite(retryAfter) ? retryAfter : null);
  }
}

class ConnectionError extends ServiceError {}

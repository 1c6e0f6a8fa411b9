/** An answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; an empty object when there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever the server sent and check it themselves.
  readonly json: any;
}

export interface StreamedEvent {
  readonly id: string;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly data: any;
}

/** HTTP as a client with a key speaks it. */
export class TestClient {
  constructor(
    readonly url: string,
    readonly key: string | null,
  ) {}

  /** The same key at another replica. */
  at(url: string): TestClient {
    return new TestClient(url, this.key);
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send('GET', path, undefined, headers);
  }

  post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send('POST', path, body, headers);
  }

  async send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await this.open(method, path, body, headers);
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true && !path.includes('ndjson');
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : {} };
  }

  /** The response as soon as its head is there. */
  open(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    return fetch(this.url + path, {
      method,
      headers: {
        ...(this.key === null ? {} : { authorization: `Bearer ${this.key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Events of a stream until it ends or `until` has seen enough. */
  async events(path: string, lastEventId?: string, until: (event: StreamedEvent) => boolean = () => false): Promise<StreamedEvent[]> {
    const abort = new AbortController();
    const response = await this.open(
      'GET',
      path,
      undefined,
      lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
      abort.signal,
    );
    if (response.status === 204 || response.body === null) return [];
    const events: StreamedEvent[] = [];
    let rest = '';
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      const frames = (rest + chunk).split('\n\n');
      rest = frames.pop() ?? '';
      for (const frame of frames.filter((text) => !text.startsWith(':'))) {
        const fields = Object.fromEntries(frame.split('\n').map((line) => line.split(/: (.*)/s) as [string, string]));
        const event = { id: fields.id ?? '', event: fields.event ?? '', data: JSON.parse(fields.data ?? 'null') };
        events.push(event);
        if (until(event)) {
          abort.abort();
          return events;
        }
      }
    }
    return events;
  }
}

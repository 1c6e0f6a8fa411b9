import type { Logger } from 'pino';
import { WebSocket } from 'ws';
import { backoffMs } from './backoff.js';

const handshakeTimeoutMs = 10_000;
const pingMs = 10_000;
const maxMessageBytes = 64 * 1024 * 1024;
/** A connection that held for so long counts as good: the next failure starts from the shortest wait. */
const steadyMs = 5_000;

export type LinkState = 'down' | 'up' | 'refused';

export interface LinkSocketOptions {
  /** The control plane's base URL, http or https. */
  readonly url: string;
  readonly channel: 'control' | 'logs';
  readonly credential: string;
  readonly log: Logger;
  /** A connection stands; nothing was sent on it yet. */
  readonly onOpen: () => void;
  /** One frame, parsed as JSON. Throwing closes the connection with 1008. */
  readonly onMessage: (message: unknown) => void;
  readonly onClose: () => void;
}

/** One channel of the agent link: a WebSocket that is dialled again, with jittered pauses, whenever it breaks. */
export class LinkSocket {
  #socket: WebSocket | null = null;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #stopped = false;
  #state: LinkState = 'down';

  constructor(private readonly options: LinkSocketOptions) {}

  get state(): LinkState {
    return this.#state;
  }

  /** Bytes that were sent but have not left this machine. */
  get bufferedBytes(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  start(): void {
    this.dial();
  }

  /** Sends one frame; false when there is no connection. */
  send(message: object): boolean {
    if (this.#state !== 'up' || this.#socket === null) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Drops the connection at once; it is dialled again. For a peer that no longer answers. */
  reconnect(): void {
    this.#socket?.terminate();
  }

  /** Closes for good, after what was sent has left. Resolves within a second. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (socket === null) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        socket.terminate();
        resolve();
      }, 1000);
      socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      socket.close(1001);
    });
  }

  private dial(): void {
    const url = new URL(`/v1/nodes/link?channel=${this.options.channel}`, this.options.url);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, {
      headers: { authorization: `Bearer ${this.options.credential}` },
      handshakeTimeout: handshakeTimeoutMs,
      maxPayload: maxMessageBytes,
      perMessageDeflate: false,
      followRedirects: false,
    });
    this.#socket = socket;
    let openedAt = 0;
    let answered = true;
    const pings = setInterval(() => {
      if (socket.readyState !== WebSocket.OPEN) return;
      if (!answered) return socket.terminate();
      answered = false;
      socket.ping();
    }, pingMs);
    let lastState: LinkState = 'down';

    socket.on('open', () => {
      openedAt = Date.now();
      this.#state = 'up';
      this.options.onOpen();
    });
    socket.on('pong', () => {
      answered = true;
    });
    socket.on('message', (bytes) => {
      answered = true;
      try {
        this.options.onMessage(JSON.parse(bytes.toString()));
      } catch (error) {
        this.options.log.error({ err: error, channel: this.options.channel }, 'a message of the control plane is not as agreed');
        socket.close(1008);
      }
    });
    socket.on('unexpected-response', (request, response) => {
      if (response.statusCode === 401 || response.statusCode === 403) lastState = 'refused';
      this.options.log.warn({ status: response.statusCode, channel: this.options.channel }, 'the control plane refused the link');
      request.destroy();
      socket.terminate();
    });
    socket.on('error', (error) => {
      this.options.log.debug({ err: error, channel: this.options.channel }, 'the link broke');
    });
    socket.on('close', (code) => {
      clearInterval(pings);
      const wasUp = this.#state === 'up';
      this.#state = lastState;
      this.#socket = null;
      if (wasUp) this.options.onClose();
      if (this.#stopped) return;
      this.#failures = openedAt > 0 && Date.now() - openedAt >= steadyMs ? 1 : this.#failures + 1;
      const pauseMs = backoffMs(this.#failures, Math.random());
      this.options.log.info({ code, pauseMs, channel: this.options.channel }, 'the link is down');
      this.#timer = setTimeout(() => this.dial(), pauseMs);
    });
  }
}

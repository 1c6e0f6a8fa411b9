import { WebSocket } from 'ws';
import type { z } from 'zod';
import { closeCodes } from './node-links.js';

/** A peer that has so much unread is cut off: it can come back and be told again. */
const unsentBytesMax = 64 * 1024 * 1024;

export interface JsonSocketHandlers<In> {
  /** Called for each message, one after the other: the next is not read before the last is handled. A rejection closes the link with 1011. */
  readonly message: (message: In) => Promise<void> | void;
  readonly closed: () => void;
}

/** A WebSocket on which each text frame is one JSON message of a schema. What does not parse closes it with 1008. */
export class JsonSocket<In, Out> {
  private inbound: Promise<void> = Promise.resolve();
  private queued = 0;
  private heardAt = performance.now();
  private readonly liveness: NodeJS.Timeout;

  constructor(
    private readonly socket: WebSocket,
    private readonly schema: z.ZodType<In>,
    silenceMaxMs: number,
    private readonly handlers: JsonSocketHandlers<In>,
    private readonly failed: (error: unknown) => void,
  ) {
    socket.on('message', (bytes, isBinary) => this.receive(String(bytes), isBinary));
    socket.on('pong', () => this.heard());
    socket.on('error', failed);
    socket.on('close', () => {
      clearInterval(this.liveness);
      handlers.closed();
    });
    // A peer that vanished without a word is found by its silence; the ping makes a quiet but living one speak.
    this.liveness = setInterval(() => {
      if (performance.now() - this.heardAt > silenceMaxMs) socket.terminate();
      else if (socket.readyState === WebSocket.OPEN) socket.ping();
    }, silenceMaxMs / 3);
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(message: Out): void {
    if (!this.isOpen) return;
    this.socket.send(JSON.stringify(message));
    if (this.socket.bufferedAmount > unsentBytesMax) this.socket.terminate();
  }

  close(code: number, reason: string): void {
    this.socket.close(code, reason);
    // A peer that does not answer the close frame is not waited for.
    setTimeout(() => this.socket.terminate(), 2000).unref();
  }

  /** Resolves when every message received so far has been handled. */
  handled(): Promise<void> {
    return this.inbound;
  }

  private heard(): void {
    this.heardAt = performance.now();
  }

  private receive(text: string, isBinary: boolean): void {
    this.heard();
    if (!this.isOpen) return;
    const message = isBinary ? null : parseMessage(this.schema, text);
    if (message === null) {
      this.close(closeCodes.policyViolation, 'a message does not parse');
      return;
    }
    // A few messages wait here, the rest in the kernel's buffers, where they slow their sender down.
    if (++this.queued >= 16) this.socket.pause();
    this.inbound = this.inbound.then(() => this.handle(message.value));
  }

  private async handle(message: In): Promise<void> {
    try {
      await this.handlers.message(message);
    } catch (error) {
      this.failed(error);
      this.close(closeCodes.internal, 'a message could not be handled');
    } finally {
      if (--this.queued < 8 && this.socket.isPaused) this.socket.resume();
    }
  }
}

function parseMessage<T>(schema: z.ZodType<T>, text: string): { value: T } | null {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? { value: parsed.data } : null;
  } catch {
    return null;
  }
}

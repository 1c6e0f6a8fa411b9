import { type FileHandle, open } from 'node:fs/promises';
import { type Lease, logAck } from '@berth/wire';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { type AttemptKey, attemptKey } from '../attempts/attempt-key.js';
import { LinkSocket, type LinkState } from '../link/link-socket.js';

/*
 * Ships the logs of attempts, byte for byte, on a channel of their own. INVARIANTS
 *   - no more bytes of a log are under way than the control plane's window allows;
 *   - each log has its turn: one that floods takes no more of the channel than the others;
 *   - a log is done when the control plane has said that it holds the last byte, or that the lease is stale.
 */
const chunkBytes = 256 * 1024;
/** Before the control plane has named its window, and when it has named none for long. */
const firstWindowBytes = 64 * 1024;
/** Bytes that may wait in this process's socket. */
const bufferedBytesMax = 1024 * 1024;
const fastPollMs = 50;
const slowPollMs = 1_000;
/** Without an answer for so long, bytes are sent again. */
const stalledMs = 10_000;

interface ShippedLog {
  readonly lease: Lease;
  readonly path: string;
  file: FileHandle | null;
  ackedOffset: number;
  sentOffset: number;
  windowBytes: number;
  /** Length of the finished log; null while it grows. */
  finalBytes: number | null;
  pollAt: number;
  pollMs: number;
  answeredAt: number;
  readonly finish: (() => void)[];
}

export interface LogShipperOptions {
  readonly url: string;
  readonly credential: string;
  readonly log: Logger;
  readonly onShipped: (bytes: number) => void;
}

export class LogShipper {
  readonly #socket: LinkSocket;
  readonly #logs = new Map<AttemptKey, ShippedLog>();
  #timer: NodeJS.Timeout | undefined;
  #pumping = false;
  #again = false;
  #stopped = false;

  constructor(private readonly options: LogShipperOptions) {
    this.#socket = new LinkSocket({
      url: options.url,
      channel: 'logs',
      credential: options.credential,
      log: options.log,
      onOpen: () => this.resume(),
      onMessage: (message) => this.receive(logAck.parse(message)),
      onClose: () => {},
    });
  }

  get state(): LinkState {
    return this.#socket.state;
  }

  start(): void {
    this.#socket.start();
  }

  /** Follows the log file at `path`, which need not exist yet. Following it again is no error. */
  follow(lease: Lease, path: string): void {
    const key = attemptKey(lease);
    if (this.#logs.has(key)) return;
    this.#logs.set(key, {
      lease,
      path,
      file: null,
      ackedOffset: 0,
      sentOffset: 0,
      windowBytes: firstWindowBytes,
      finalBytes: null,
      pollAt: 0,
      pollMs: fastPollMs,
      answeredAt: 0,
      finish: [],
    });
    this.pumpSoon();
  }

  /** The log has its final length. Resolves when the control plane holds all of it, or wants no more of it. */
  async finish(lease: Lease, logBytes: number, signal: AbortSignal): Promise<void> {
    const shipped = this.#logs.get(attemptKey(lease));
    if (shipped === undefined) return;
    shipped.finalBytes = logBytes;
    shipped.pollAt = 0;
    await new Promise<void>((resolve, reject) => {
      shipped.finish.push(resolve);
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      this.settle(shipped);
      this.pumpSoon();
    });
  }

  /** Stops following, whatever was shipped. */
  async drop(lease: Lease): Promise<void> {
    const shipped = this.#logs.get(attemptKey(lease));
    if (shipped === undefined) return;
    this.#logs.delete(attemptKey(lease));
    for (const resolve of shipped.finish) resolve();
    await shipped.file?.close().catch(() => {});
    shipped.file = null;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#socket.stop();
    for (const { lease } of [...this.#logs.values()]) await this.drop(lease);
  }

  private resume(): void {
    for (const shipped of this.#logs.values()) {
      shipped.sentOffset = shipped.ackedOffset;
      shipped.windowBytes = firstWindowBytes;
      shipped.pollAt = 0;
    }
    this.pumpSoon();
  }

  private receive(ack: z.infer<typeof logAck>): void {
    const shipped = this.#logs.get(attemptKey(ack));
    if (shipped === undefined) return;
    if (ack.stale) {
      void this.drop(ack);
      return;
    }
    this.options.onShipped(Math.max(0, ack.nextOffset - shipped.ackedOffset));
    // The control plane knows what it holds: less than it said before means that it wants those bytes again.
    if (ack.nextOffset < shipped.ackedOffset) shipped.sentOffset = ack.nextOffset;
    shipped.ackedOffset = ack.nextOffset;
    shipped.sentOffset = Math.max(shipped.sentOffset, ack.nextOffset);
    shipped.windowBytes = ack.window;
    shipped.answeredAt = Date.now();
    shipped.pollAt = 0;
    this.settle(shipped);
    this.pumpSoon();
  }

  private settle(shipped: ShippedLog): void {
    if (shipped.finalBytes === null || shipped.ackedOffset < shipped.finalBytes) return;
    for (const resolve of shipped.finish.splice(0)) resolve();
  }

  private pumpSoon(): void {
    if (this.#pumping) {
      this.#again = true;
      return;
    }
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#pumping = true;
    void this.pump().finally(() => {
      this.#pumping = false;
      if (this.#again) {
        this.#again = false;
        this.pumpSoon();
      } else if (!this.#stopped && this.#logs.size > 0 && this.#socket.state === 'up') {
        const nextAt = Math.min(...[...this.#logs.values()].map((shipped) => shipped.pollAt));
        this.#timer = setTimeout(() => this.pumpSoon(), Math.max(10, Math.min(slowPollMs, nextAt - Date.now())));
      }
    });
  }

  /** Gives each log that is due a turn of one chunk, until a round sends nothing. */
  private async pump(): Promise<void> {
    for (let sent = true; sent && this.#socket.state === 'up'; ) {
      sent = false;
      for (const shipped of [...this.#logs.values()]) {
        if (this.#socket.bufferedBytes > bufferedBytesMax) return;
        if (shipped.pollAt <= Date.now() && (await this.turn(shipped))) sent = true;
      }
    }
  }

  /** Sends one chunk; false when there was none to send, and then the log is due again only later. */
  private async turn(shipped: ShippedLog): Promise<boolean> {
    const now = Date.now();
    const waiting = shipped.sentOffset > shipped.ackedOffset;
    if ((waiting || shipped.windowBytes === 0) && now - shipped.answeredAt > stalledMs) {
      shipped.sentOffset = shipped.ackedOffset;
      shipped.windowBytes = Math.max(shipped.windowBytes, firstWindowBytes);
      shipped.answeredAt = now;
    }
    const room = Math.min(chunkBytes, shipped.windowBytes - (shipped.sentOffset - shipped.ackedOffset));
    const bytes = room > 0 ? await this.read(shipped, room) : null;
    // The log may have been dropped while it was read.
    if (bytes === null || bytes.length === 0 || this.#logs.get(attemptKey(shipped.lease)) !== shipped) {
      shipped.pollMs = Math.min(slowPollMs, shipped.pollMs * 2);
      shipped.pollAt = now + shipped.pollMs;
      return false;
    }
    const { runId, attempt, epoch } = shipped.lease;
    const chunk = { type: 'logChunk', runId, attempt, epoch, offset: shipped.sentOffset, bytes: bytes.toString('base64') };
    if (!this.#socket.send(chunk)) return false;
    if (!waiting) shipped.answeredAt = now;
    shipped.sentOffset += bytes.length;
    shipped.pollMs = fastPollMs;
    return true;
  }

  private async read(shipped: ShippedLog, maxBytes: number): Promise<Buffer | null> {
    try {
      shipped.file ??= await open(shipped.path, 'r');
      const buffer = Buffer.allocUnsafe(maxBytes);
      const { bytesRead } = await shipped.file.read(buffer, 0, maxBytes, shipped.sentOffset);
      return buffer.subarray(0, bytesRead);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.options.log.error({ err: error, path: shipped.path }, 'a log cannot be read');
      return null;
    }
  }
}

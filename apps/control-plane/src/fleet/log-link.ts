import type { LogStore, NodeRow } from '@berth/store';
import { logAck, logChunk } from '@berth/wire';
import type { WebSocket } from 'ws';
import type { z } from 'zod';
import type { Logger } from '../logger.js';
import type { Metrics } from '../metrics/metrics.js';
import type { RunChanges } from '../reporting/run-changes.js';
import { JsonSocket } from './json-socket.js';
import { closeCodes } from './node-links.js';

type Chunk = z.infer<typeof logChunk>;
type Ack = z.infer<typeof logAck>;

/** How many bytes of one attempt's log a node may have in flight. */
export const logWindowBytes = 1024 * 1024;
const chunkBytesMax = 256 * 1024;
const silenceMaxMs = 60_000;

export interface LogLinkContext {
  readonly logs: LogStore;
  readonly changes: RunChanges;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** The log connection of one node: each chunk is stored, then acknowledged, one after the other, so that a flood waits on the node. */
export class LogLink {
  private readonly socket: JsonSocket<Chunk, Ack>;

  constructor(
    socket: WebSocket,
    private readonly node: NodeRow,
    private readonly context: LogLinkContext,
  ) {
    this.socket = new JsonSocket(socket, logChunk, silenceMaxMs, { message: (chunk) => this.store(chunk), closed: () => {} }, (error) =>
      context.logger.warn({ nodeId: node.id, err: error }, 'log link'),
    );
  }

  close(code: number, reason: string): void {
    this.socket.close(code, reason);
  }

  /** Resolves when every chunk received so far has been stored. */
  settled(): Promise<void> {
    return this.socket.handled();
  }

  private async store({ runId, attempt, epoch, offset, bytes }: Chunk): Promise<void> {
    const lease = { runId, attempt, epoch };
    const content = Buffer.from(bytes, 'base64');
    if (content.length > chunkBytesMax) return this.close(closeCodes.policyViolation, 'a chunk is larger than 256 KiB');
    const { nextOffset, stale } = await this.context.logs.append(this.node.id, lease, offset, content);
    this.socket.send({ type: 'logAck', ...lease, nextOffset, window: logWindowBytes, stale });
    if (stale) return;
    this.context.metrics.logBytes.inc(content.length);
    this.context.changes.logGrew(runId);
  }
}

import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError, hashSecret, isSecret } from '@berth/core';
import { type NodeRow, NodeStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { type WebSocket, WebSocketServer } from 'ws';
import { bearer } from '../http/bearer.js';
import { toAppError } from '../http/problem.js';
import { refuseOnSocket } from '../http/server.js';
import { ControlLink, type ControlLinkContext } from './control-link.js';
import { LogLink, type LogLinkContext } from './log-link.js';
import { closeCodes } from './node-links.js';

/** The injection tokens of what links work with. */
export const CONTROL_LINK_CONTEXT = Symbol('ControlLinkContext');
export const LOG_LINK_CONTEXT = Symbol('LogLinkContext');

const linkPath = '/v1/nodes/link';
const frameBytesMax = 16 * 1024 * 1024;

/** Takes in the nodes that dial: checks their credential, then hands each connection to the link of its channel. */
@Injectable()
export class LinkServer {
  private readonly sockets = new WebSocketServer({ noServer: true, maxPayload: frameBytesMax, perMessageDeflate: false });
  private readonly open = new Set<ControlLink | LogLink>();
  private stopping = false;

  constructor(
    @Inject(NodeStore) private readonly nodes: NodeStore,
    @Inject(CONTROL_LINK_CONTEXT) private readonly control: ControlLinkContext,
    @Inject(LOG_LINK_CONTEXT) private readonly logs: LogLinkContext,
  ) {}

  /** Serves the upgrade requests of an HTTP server. */
  attach(server: Server): void {
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy());
      this.accept(request, socket, head).catch((error: unknown) => {
        refuseOnSocket(socket as Socket, toAppError(error));
      });
    });
  }

  /** Closes every link so that its node dials again, elsewhere, and resolves when what they had brought is in the store. */
  async stop(): Promise<void> {
    this.stopping = true;
    const links = [...this.open];
    for (const link of links) link.close(closeCodes.serviceRestart, 'the control plane restarts');
    await Promise.all(links.map((link) => link.settled()));
  }

  private async accept(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = new URL(request.url ?? '', 'http://link');
    if (url.pathname !== linkPath) throw new AppError('notFound', 'there is no such WebSocket');
    if (this.stopping) throw new AppError('unavailable', 'the service is stopping');
    const node = await this.authenticate(request.headers.authorization);
    const channel = url.searchParams.get('channel');
    if (channel !== 'control' && channel !== 'logs') throw new AppError('invalidRequest', 'channel: must be control or logs');
    this.sockets.handleUpgrade(request, socket, head, (webSocket) => this.serve(channel, webSocket, node));
  }

  private async authenticate(authorization: string | undefined): Promise<NodeRow> {
    const credential = bearer(authorization);
    const node = credential !== null && isSecret('bnode', credential) ? await this.nodes.authenticate(hashSecret(credential)) : null;
    if (node === null) throw new AppError('unauthorized', 'the node credential is missing or unknown; join again');
    return node;
  }

  private serve(channel: 'control' | 'logs', socket: WebSocket, node: NodeRow): void {
    const link = channel === 'control' ? new ControlLink(socket, node, this.control) : new LogLink(socket, node, this.logs);
    this.open.add(link);
    socket.once('close', () => this.open.delete(link));
    if (this.stopping) link.close(closeCodes.serviceRestart, 'the control plane restarts');
  }
}

import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { newId } from '@berth/core';
import {
  type AgentMessage,
  type Assignment,
  agentMessage,
  type ControlMessage,
  joinRequest,
  type Lease,
  logChunk,
  type NodeAnswer,
  type Report,
} from '@berth/wire';
import { type WebSocket, WebSocketServer } from 'ws';

const joinToken = 'bjoin_test';
const credential = 'bnode_test';

/**
 * The control plane's side of the agent link, in this process, over real sockets: it lets one node join, acknowledges what it is told to
 * acknowledge, and keeps every report and every byte of log, checking both against the protocol as they come.
 */
export class ProtocolServer {
  readonly nodeId = newId('node', Date.now(), randomBytes(10));
  readonly reports: Report[] = [];
  readonly heartbeats: { readonly at: number; readonly message: Extract<AgentMessage, { type: 'heartbeat' }> }[] = [];
  readonly hellos: Extract<AgentMessage, { type: 'hello' }>[] = [];
  readonly answers = new Map<string, NodeAnswer>();
  /** What the agent did against the protocol; empty when all is well. */
  readonly violations: string[] = [];
  /** How reports are answered; null: not at all. */
  reportOutcome: 'applied' | 'stale' | null = 'applied';
  acknowledgesHeartbeats = true;
  acknowledgesLogs = true;
  heartbeatMs = 200;
  stopAfterMs = 45_000;
  logWindowBytes = 512 * 1024;
  registries: { host: string; url: string }[] = [];
  readonly #logs = new Map<string, Buffer[]>();
  readonly #assignments = new Map<string, Assignment>();
  readonly #sockets = new Set<WebSocket>();
  #control: WebSocket | null = null;

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<ProtocolServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const protocol = new ProtocolServer(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    protocol.serve();
    return protocol;
  }

  static readonly joinToken = joinToken;

  get connected(): boolean {
    return this.#control !== null;
  }

  /** Assigns a run, now and after each reconnect until it has ended. */
  assign(assignment: Assignment): void {
    this.#assignments.set(keyOf(assignment), assignment);
    this.send({ type: 'assign', assignments: [assignment] });
  }

  /** Assigns a run no more. */
  withdraw(lease: Pick<Lease, 'runId' | 'epoch'>): void {
    this.#assignments.delete(keyOf(lease));
  }

  stop(lease: Lease, reason: 'canceled' | 'superseded', graceMs: number): void {
    const { runId, attempt, epoch } = lease;
    this.send({ type: 'stop', lease: { runId, attempt, epoch }, reason, graceMs });
  }

  send(message: ControlMessage): void {
    this.#control?.send(JSON.stringify(message));
  }

  /** The reports of an attempt, each once however often it came. */
  reportsOf(lease: Pick<Lease, 'runId' | 'epoch'>): Report[] {
    return [...new Map(this.deliveriesOf(lease).map((report) => [report.id, report])).values()];
  }

  /** Every arrival of a report of an attempt: one comes again until it is acknowledged. */
  deliveriesOf(lease: Pick<Lease, 'runId' | 'epoch'>): Report[] {
    return this.reports.filter((report) => keyOf(report) === keyOf(lease));
  }

  /** The bytes of an attempt's log so far. */
  logOf(lease: Pick<Lease, 'runId' | 'epoch'>): Buffer {
    return Buffer.concat(this.#logs.get(keyOf(lease)) ?? []);
  }

  /** Breaks every connection, as a crash of the control plane does; the agent may come back at once. */
  dropLinks(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  async close(): Promise<void> {
    this.dropLinks();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private serve(): void {
    this.server.on('request', async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = joinRequest.safeParse(JSON.parse(Buffer.concat(chunks).toString() || 'null'));
      const joins = request.method === 'POST' && request.url === '/v1/nodes/join' && body.success && body.data.token === joinToken;
      response.writeHead(joins ? 201 : 401, { 'content-type': 'application/json' });
      response.end(JSON.stringify(joins ? { nodeId: this.nodeId, credential } : { code: 'unauthorized' }));
    });
    const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 * 1024 * 1024 });
    this.server.on('upgrade', (request: IncomingMessage, socket, head) => {
      if (request.headers.authorization !== `Bearer ${credential}`) {
        socket.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n');
        return;
      }
      sockets.handleUpgrade(request, socket, head, (opened) => {
        this.#sockets.add(opened);
        opened.on('close', () => this.#sockets.delete(opened));
        opened.on('error', () => {});
        if (new URL(request.url ?? '', this.url).searchParams.get('channel') === 'control') this.serveControl(opened);
        else this.serveLogs(opened);
      });
    });
  }

  private serveControl(socket: WebSocket): void {
    let greeted = false;
    socket.on('close', () => {
      if (this.#control === socket) this.#control = null;
    });
    socket.on('message', (bytes) => {
      const message = agentMessage.parse(JSON.parse(bytes.toString()));
      if (!greeted && message.type !== 'hello') this.violations.push(`${message.type} came before hello`);
      greeted = true;
      this.receive(socket, message);
    });
  }

  private receive(socket: WebSocket, message: AgentMessage): void {
    switch (message.type) {
      case 'hello':
        this.hellos.push(message);
        this.#control = socket;
        this.send({
          type: 'welcome',
          nodeId: this.nodeId,
          heartbeatMs: this.heartbeatMs,
          stopAfterMs: this.stopAfterMs,
          registries: this.registries,
        });
        if (this.#assignments.size > 0) this.send({ type: 'assign', assignments: [...this.#assignments.values()] });
        break;
      case 'heartbeat':
        this.heartbeats.push({ at: Date.now(), message });
        if (this.acknowledgesHeartbeats) this.send({ type: 'heartbeatAck', sequence: message.sequence });
        break;
      case 'answer':
        this.answers.set(message.id, message.answer);
        break;
      case 'reports':
        this.takeReports(message.reports);
        break;
    }
  }

  private takeReports(reports: readonly Report[]): void {
    for (const report of reports) {
      const ended = this.reportsOf(report).find((known) => ['exited', 'failed', 'stopped'].includes(known.kind));
      if (ended !== undefined && ended.id !== report.id && !this.reports.some(({ id }) => id === report.id)) {
        this.violations.push(`${report.kind} came after ${ended.kind}`);
      }
      this.reports.push(report);
      if (['exited', 'failed', 'stopped'].includes(report.kind)) this.#assignments.delete(keyOf(report));
    }
    const { reportOutcome: outcome } = this;
    if (outcome !== null) this.send({ type: 'reportAcks', acks: reports.map(({ id }) => ({ id, outcome })) });
  }

  private serveLogs(socket: WebSocket): void {
    socket.on('message', (text) => {
      const chunk = logChunk.parse(JSON.parse(text.toString()));
      const key = keyOf(chunk);
      const bytes = Buffer.from(chunk.bytes, 'base64');
      const stored = this.logOf(chunk).length;
      if (bytes.length > 256 * 1024) this.violations.push(`a log chunk of ${bytes.length} bytes`);
      if (chunk.offset + bytes.length > stored + this.logWindowBytes) this.violations.push('log bytes beyond the window');
      if (!this.acknowledgesLogs) return;
      if (chunk.offset <= stored && chunk.offset + bytes.length > stored) {
        this.#logs.set(key, [...(this.#logs.get(key) ?? []), bytes.subarray(stored - chunk.offset)]);
      }
      const { runId, attempt, epoch } = chunk;
      const nextOffset = this.logOf(chunk).length;
      socket.send(JSON.stringify({ type: 'logAck', runId, attempt, epoch, nextOffset, window: this.logWindowBytes, stale: false }));
    });
  }
}

function keyOf({ runId, epoch }: Pick<Lease, 'runId' | 'epoch'>): string {
  return `${runId}-${epoch}`;
}

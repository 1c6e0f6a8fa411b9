import {
  type AgentMessage,
  type Assignment,
  agentProtocol,
  type ControlMessage,
  controlMessage,
  type Lease,
  type NodeAnswer,
  type NodeDisk,
} from '@berth/wire';
import type { Logger } from 'pino';
import type { StopPage } from '../lease/stop-page.js';
import type { ReportSpool } from '../reports/report-spool.js';
import { LinkSocket, type LinkState } from './link-socket.js';

const reportsPerMessage = 500;
/** A connection on which the control plane answers no heartbeat for so many of them, and for so long, is dead. */
const silentHeartbeats = 3;
const silentNs = 10_000_000_000n;
const resendReportsMs = 15_000;

export type Hello = Omit<Extract<AgentMessage, { type: 'hello' }>, 'type' | 'protocol' | 'holds'>;
export type Ask = Extract<ControlMessage, { type: 'ask' }>;
export type Welcome = Extract<ControlMessage, { type: 'welcome' }>;

/** What the channel asks of the node and tells it. */
export interface ControlPeer {
  readonly hello: Hello;
  /** Every attempt whose end is not yet acknowledged. */
  holds(): readonly Lease[];
  /** Digests of the layers on this machine; null when they are as in the last heartbeat. */
  changedLayers(): readonly string[] | null;
  /** The node's disk, when it is not what was asked for last. */
  changedDisk(): NodeDisk | null;
  welcomed(welcome: Welcome): void;
  assigned(assignment: Assignment): void;
  stopped(lease: Lease, reason: 'canceled' | 'superseded', graceMs: number): void;
  /** Answers a question; null when it is being answered already. */
  asked(ask: Ask): Promise<NodeAnswer | null>;
}

export interface ControlChannelOptions {
  readonly url: string;
  readonly credential: string;
  readonly peer: ControlPeer;
  readonly spool: ReportSpool;
  readonly stopPage: StopPage;
  /** Nanoseconds of CLOCK_BOOTTIME. */
  readonly nowNs: () => bigint;
  readonly log: Logger;
}

/** The control channel: hello, heartbeats and the lease that they renew, reports until acknowledged, assignments and stops. */
export class ControlChannel {
  readonly #socket: LinkSocket;
  #timers: NodeJS.Timeout[] = [];
  #welcome: Welcome | null = null;
  #sequence = 0;
  /** When each unanswered heartbeat of this connection was sent. */
  readonly #sentAtNs = new Map<number, bigint>();
  #flushing = false;

  constructor(private readonly options: ControlChannelOptions) {
    this.#socket = new LinkSocket({
      url: options.url,
      channel: 'control',
      credential: options.credential,
      log: options.log,
      onOpen: () => this.greet(),
      onMessage: (message) => this.receive(controlMessage.parse(message)),
      onClose: () => this.hangUp(),
    });
    options.spool.onAppend(() => this.flushSoon());
  }

  get state(): LinkState {
    return this.#socket.state;
  }

  start(): void {
    this.#socket.start();
  }

  async stop(): Promise<void> {
    this.hangUp();
    await this.#socket.stop();
  }

  private greet(): void {
    const { peer } = this.options;
    this.send({ type: 'hello', protocol: agentProtocol, ...peer.hello, holds: [...peer.holds()] });
  }

  private hangUp(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#welcome = null;
    this.#sentAtNs.clear();
  }

  private receive(message: ControlMessage): void {
    switch (message.type) {
      case 'welcome':
        this.welcome(message);
        break;
      case 'heartbeatAck':
        this.acknowledgeHeartbeat(message.sequence);
        break;
      case 'assign':
        for (const assignment of message.assignments) this.options.peer.assigned(assignment);
        break;
      case 'stop':
        this.options.peer.stopped(message.lease, message.reason, message.graceMs);
        break;
      case 'ask':
        void this.answer(message);
        break;
      case 'reportAcks':
        for (const { id, outcome } of message.acks) this.options.spool.acknowledge(id, outcome);
        break;
    }
  }

  /** Where the link breaks meanwhile, the question comes again on the next. */
  private async answer(ask: Ask): Promise<void> {
    const answer = await this.options.peer.asked(ask);
    if (answer !== null) this.send({ type: 'answer', id: ask.id, answer });
  }

  private welcome(welcome: Welcome): void {
    this.hangUp();
    this.#welcome = welcome;
    this.options.log.info({ nodeId: welcome.nodeId, heartbeatMs: welcome.heartbeatMs }, 'the link is up');
    this.options.peer.welcomed(welcome);
    this.beat();
    this.sendReports();
    this.#timers = [setInterval(() => this.beat(), welcome.heartbeatMs), setInterval(() => this.sendReports(), resendReportsMs)];
  }

  private beat(): void {
    const [oldestNs] = this.#sentAtNs.values();
    if (oldestNs !== undefined && this.#sentAtNs.size >= silentHeartbeats && this.options.nowNs() - oldestNs >= silentNs) {
      this.options.log.warn('the control plane answers no heartbeat');
      this.#socket.reconnect();
      return;
    }
    const sequence = ++this.#sequence;
    const layers = this.options.peer.changedLayers();
    const disk = this.options.peer.changedDisk();
    // The time is taken before the frame leaves: the lease must never be longer than the control plane thinks.
    this.#sentAtNs.set(sequence, this.options.nowNs());
    this.send({
      type: 'heartbeat',
      sequence,
      holds: [...this.options.peer.holds()],
      ...(layers === null ? {} : { layers: [...layers] }),
      ...(disk === null ? {} : { disk }),
    });
  }

  private acknowledgeHeartbeat(sequence: number): void {
    const sentAtNs = this.#sentAtNs.get(sequence);
    if (sentAtNs === undefined || this.#welcome === null) return;
    // An answer to a later heartbeat answers those before it.
    for (const earlier of [...this.#sentAtNs.keys()]) if (earlier <= sequence) this.#sentAtNs.delete(earlier);
    this.options.stopPage.renew(sentAtNs, this.#welcome.stopAfterMs);
  }

  /** Reports of one turn of the event loop go out in one message. */
  private flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.sendReports(true);
    });
  }

  private sendReports(onlyUnsent = false): void {
    if (this.#welcome === null) return;
    const reports = this.options.spool.pending(onlyUnsent);
    for (let start = 0; start < reports.length; start += reportsPerMessage) {
      this.send({ type: 'reports', reports: reports.slice(start, start + reportsPerMessage) });
    }
  }

  private send(message: AgentMessage): void {
    this.#socket.send(message);
  }
}

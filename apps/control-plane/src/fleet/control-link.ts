import { embeddedRegistry } from '@berth/core';
import type { LayerStore, LeaseRow, NodeRow, NodeStore } from '@berth/store';
import { type AgentMessage, agentMessage, agentProtocol, type ControlMessage, type Lease, type NodeDisk, type Report } from '@berth/wire';
import type { WebSocket } from 'ws';
import type { Config } from '../config.js';
import type { Logger } from '../logger.js';
import type { Metrics } from '../metrics/metrics.js';
import type { WakeUps } from '../queue/wake-ups.js';
import type { ApplyReports } from '../reporting/apply-reports.js';
import { SingleFlight } from '../single-flight.js';
import type { Heartbeats } from './heartbeats.js';
import { JsonSocket } from './json-socket.js';
import { closeCodes, type NodeLink, type NodeLinks } from './node-links.js';
import { leaseKey, type NodeOrder, type NodeOrders } from './node-orders.js';
import type { NodeQuestions } from './node-questions.js';

type Hello = Extract<AgentMessage, { type: 'hello' }>;

/** What every control link works with. */
export interface ControlLinkContext {
  readonly config: Config;
  readonly nodes: NodeStore;
  readonly layers: LayerStore;
  readonly links: NodeLinks;
  readonly orders: NodeOrders;
  readonly questions: NodeQuestions;
  readonly heartbeats: Heartbeats;
  readonly applyReports: ApplyReports;
  readonly wakeUps: WakeUps;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** A frame of assignments stays below this, unless one alone is larger. */
const frameBytesMax = 1024 * 1024;
const reportsPerWrite = 500;

/**
 * The control connection of one node. INVARIANTS
 *   - the node is told what the store has, never what someone remembers; so telling it twice, or late, is harmless;
 *   - a heartbeat is acknowledged after the store has it, a report after the store has applied it;
 *   - what the node holds and the store does not give it, it is told to stop.
 */
export class ControlLink implements NodeLink {
  readonly nodeId: string;
  private readonly socket: JsonSocket<AgentMessage, ControlMessage>;
  private helloed = false;
  /** Runs to tell the node about, next; `all` beside the leases it holds. */
  private wanted: { runIds: Set<string>; holds: readonly Lease[] | null } | null = null;
  /** One look at a time, so that what is sent has the order in which it was true. */
  private readonly telling = new SingleFlight(() => this.tell());
  private reports: Report[] = [];
  private readonly applying = new SingleFlight(() => this.apply());
  /** Assignments sent on this connection; it delivers them or breaks. */
  private readonly sent = new Set<string>();
  /** Leases that ended on this connection; the node may name them a little longer. */
  private readonly ended = new Set<string>();
  private readonly submittedAt = new Map<string, Date>();

  constructor(
    socket: WebSocket,
    node: NodeRow,
    private readonly context: ControlLinkContext,
  ) {
    this.nodeId = node.id;
    const logger = context.logger.child({ nodeId: node.id });
    this.socket = new JsonSocket(
      socket,
      agentMessage,
      // Beyond T_stop the node has given its leases up, and the connection is of no use.
      context.config.lease.stopAfterMs,
      {
        message: (message) => this.receive(message),
        closed: () => {
          context.links.closed(this);
          logger.info('control link closed');
        },
      },
      (error) => logger.warn({ err: error }, 'control link'),
    );
  }

  look(runIds: readonly string[]): void {
    if (!this.helloed) return;
    this.want(runIds, null);
  }

  ask(questionId: string): void {
    if (!this.helloed) return;
    this.context.questions.of(this.nodeId, questionId).then(
      (ask) => {
        if (ask !== null) this.socket.send(ask);
      },
      (error: unknown) => this.context.logger.warn({ nodeId: this.nodeId, err: error }, 'question not read'),
    );
  }

  close(code: number, reason: string): void {
    this.socket.close(code, reason);
  }

  /** Resolves when every report received so far has been applied. */
  async settled(): Promise<void> {
    await this.socket.handled();
    await this.applying.settled();
  }

  private async receive(message: AgentMessage): Promise<void> {
    if (message.type === 'hello') return this.hello(message);
    if (!this.helloed) return this.close(closeCodes.policyViolation, 'hello comes first');
    if (message.type === 'heartbeat') {
      if (message.disk !== undefined) this.keepDisk(message.disk);
      if (message.layers !== undefined) this.keepLayers(message.layers);
      return this.heartbeat(message.sequence, message.holds);
    }
    if (message.type === 'answer') return this.context.questions.answered(this.nodeId, message.id, message.answer);
    this.reports.push(...message.reports);
    const applied = this.applying.run();
    // With more than one write's worth waiting, the sender waits too.
    if (this.reports.length > reportsPerWrite) await applied;
  }

  private async hello(message: Hello): Promise<void> {
    const { config, nodes, links, wakeUps, logger } = this.context;
    if (message.protocol !== agentProtocol) {
      return this.close(closeCodes.policyViolation, `the control plane speaks protocol ${agentProtocol}`);
    }
    const { agentVersion, kernel, architecture, cgroupMode, cpuMillis, memoryBytes, diskBytes = 0, features } = message;
    const facts = { agentVersion, kernel, architecture, cgroupMode, cpuMillis, memoryBytes, diskBytes, features };
    await nodes.connected(this.nodeId, facts, new Date());
    logger.info({ nodeId: this.nodeId, ...facts }, 'node connected');
    this.socket.send({
      type: 'welcome',
      nodeId: this.nodeId,
      heartbeatMs: config.lease.heartbeatMs,
      stopAfterMs: config.lease.stopAfterMs,
      registries: [
        { host: embeddedRegistry, url: config.registry.advertisedUrl },
        ...config.registry.internalOrigins.map((url) => ({ host: new URL(url).host, url })),
      ],
    });
    this.helloed = true;
    links.opened(this);
    this.want([], message.holds);
    wakeUps.capacityFreed();
  }

  private heartbeat(sequence: number, holds: readonly Lease[]): void {
    this.context.heartbeats.record(this.nodeId).then(
      () => {
        this.socket.send({ type: 'heartbeatAck', sequence });
        this.want([], holds);
      },
      (error: unknown) => this.context.logger.warn({ nodeId: this.nodeId, err: error }, 'heartbeat not stored'),
    );
  }

  /** For people: nothing waits for it. */
  private keepDisk(disk: NodeDisk): void {
    this.context.nodes
      .tellDisk(this.nodeId, disk)
      .catch((error: unknown) => this.context.logger.warn({ nodeId: this.nodeId, err: error }, 'disk not stored'));
  }

  /** A hint for placements. */
  private keepLayers(layers: readonly string[]): void {
    this.context.layers
      .tell(this.nodeId, layers)
      .catch((error: unknown) => this.context.logger.warn({ nodeId: this.nodeId, err: error }, 'layers not stored'));
  }

  private want(runIds: readonly string[], holds: readonly Lease[] | null): void {
    this.wanted ??= { runIds: new Set(), holds: null };
    for (const runId of runIds) this.wanted.runIds.add(runId);
    if (holds !== null) this.wanted.holds = holds;
    void this.telling.run();
  }

  private async tell(): Promise<void> {
    if (this.wanted === null || !this.socket.isOpen) return;
    const { runIds, holds } = this.wanted;
    this.wanted = null;
    try {
      // Of all that the node should hold, what it was given on this connection needs no telling again.
      const held = holds === null ? null : await this.context.orders.held(this.nodeId);
      const untold = held?.filter(({ lease, stop }) => stop || !this.sent.has(leaseKey(lease))).map(({ lease }) => lease.runId) ?? [];
      const orders = await this.context.orders.of(this.nodeId, [...new Set([...runIds, ...untold])]);
      this.send(orders);
      if (holds !== null && held !== null) this.stopStrays(holds, [...held, ...orders]);
    } catch (error) {
      // The next heartbeat brings the next look.
      this.context.logger.warn({ nodeId: this.nodeId, err: error }, 'orders not read');
    }
  }

  private send(orders: readonly NodeOrder[]): void {
    const frame: Extract<ControlMessage, { type: 'assign' }>['assignments'] = [];
    let frameBytes = 0;
    const flush = () => {
      if (frame.length > 0) this.socket.send({ type: 'assign', assignments: frame.splice(0) });
      frameBytes = 0;
    };
    for (const order of orders) {
      this.submittedAt.set(leaseKey(order.lease), order.submittedAt);
      if (order.kind === 'stop') {
        this.socket.send({ type: 'stop', lease: order.lease, reason: 'canceled', graceMs: order.graceMs });
        continue;
      }
      const key = leaseKey(order.lease);
      if (this.sent.has(key) || this.ended.has(key)) continue;
      const assignment = order.assignment();
      const bytes = JSON.stringify(assignment).length;
      if (frameBytes + bytes > frameBytesMax) flush();
      frame.push(assignment);
      frameBytes += bytes;
      this.sent.add(key);
      this.context.metrics.submitToDispatch.observe((Date.now() - order.submittedAt.getTime()) / 1000);
    }
    flush();
  }

  private stopStrays(holds: readonly Lease[], due: readonly { readonly lease: LeaseRow }[]): void {
    const given = new Set(due.map(({ lease }) => leaseKey(lease)));
    const strays = holds.filter((lease) => !given.has(leaseKey(lease)) && !this.ended.has(leaseKey(lease)));
    this.stopSuperseded(strays);
    // What neither the node names nor the store gives needs no remembering.
    const held = new Set(holds.map(leaseKey));
    for (const key of this.ended) if (!held.has(key)) this.ended.delete(key);
    for (const key of this.sent) if (!given.has(key)) this.sent.delete(key);
    for (const key of this.submittedAt.keys()) if (!given.has(key)) this.submittedAt.delete(key);
  }

  /** At once: whatever replaced them must not meet them. */
  private stopSuperseded(leases: readonly LeaseRow[]): void {
    for (const { runId, attempt, epoch } of leases) {
      this.socket.send({ type: 'stop', lease: { runId, attempt, epoch }, reason: 'superseded', graceMs: 0 });
    }
  }

  private async apply(): Promise<void> {
    try {
      while (this.reports.length > 0) {
        const batch = this.reports.splice(0, reportsPerWrite);
        const { acks, stop } = await this.context.applyReports.execute(this.nodeId, batch);
        for (const report of batch) this.note(report);
        this.socket.send({ type: 'reportAcks', acks });
        this.stopSuperseded(stop);
      }
    } catch (error) {
      // Unacknowledged reports come again with the next connection.
      this.context.logger.error({ nodeId: this.nodeId, err: error }, 'reports not applied');
      this.reports = [];
      this.close(closeCodes.internal, 'reports could not be applied');
    }
  }

  private note(report: Report): void {
    if (report.kind !== 'exited' && report.kind !== 'failed' && report.kind !== 'stopped') return;
    const key = leaseKey(report);
    this.ended.add(key);
    this.sent.delete(key);
    const submittedAt = this.submittedAt.get(key);
    if (submittedAt !== undefined && report.kind === 'exited')
      this.context.metrics.submitToExit.observe((Date.now() - submittedAt.getTime()) / 1000);
    this.submittedAt.delete(key);
  }
}

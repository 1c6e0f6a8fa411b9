import { once } from 'node:events';
import {
  type AgentMessage,
  type Assignment,
  agentProtocol,
  type ControlMessage,
  controlMessage,
  type ExitRecord,
  type Lease,
  logAck,
  type NodeAnswer,
  type NodeDisk,
  type Report,
} from '@berth/wire';
import { WebSocket } from 'ws';

type Ask = Extract<ControlMessage, { type: 'ask' }>;
type Stop = Extract<ControlMessage, { type: 'stop' }>;
type Welcome = Extract<ControlMessage, { type: 'welcome' }>;
type Fact = { [K in Report['kind']]: Omit<Extract<Report, { kind: K }>, keyof Lease | 'id'> }[Report['kind']];

export interface AgentOffer {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

/** What an attempt does on the peer: tells its facts as a real node would. */
export type Behaviour = (peer: AgentPeer, assignment: Assignment) => void | Promise<void>;

/** Runs to its end at once, with the exit code in `args[0]` (0 by default), printing `args[1]` first. `hold` waits for a stop. */
export const runToEnd: Behaviour = async (peer, assignment) => {
  const [first = '0', output = ''] = assignment.spec.args ?? [];
  peer.report(assignment, { kind: 'preparing' });
  peer.report(assignment, { kind: 'running', startedAt: new Date().toISOString() });
  if (first === 'hold') return;
  const log = output === '' ? Buffer.alloc(0) : criRecord('stdout', output);
  if (log.length > 0) await peer.ship(assignment, 0, log);
  peer.exit(assignment, { exitCode: Number(first), logBytes: log.length });
};

/** One whole line of output as a node records it. */
export function criRecord(stream: 'stdout' | 'stderr', text: string, tag: 'F' | 'P' = 'F'): Buffer {
  return Buffer.from(`2026-01-02T03:04:05.678901234Z ${stream} ${tag} ${text}\n`);
}

/**
 * A node that speaks the agent's protocol over real connections and runs no containers: what it reports is what the test wants reported.
 * Reports are kept and sent again until acknowledged, as the contract asks.
 */
export class AgentPeer {
  control: WebSocket | null = null;
  logs: WebSocket | null = null;
  welcome: Welcome | null = null;
  /** Every assignment received, repeats included. */
  readonly assignments: Assignment[] = [];
  readonly stops: Stop[] = [];
  readonly acks: { id: string; outcome: 'applied' | 'stale' }[] = [];
  readonly closes: { code: number; reason: string }[] = [];
  heartbeatAcks = 0;
  /** Told with each heartbeat. */
  disk: NodeDisk | undefined;
  layers: readonly string[] | undefined;
  behaviour: Behaviour = runToEnd;
  /** What it can be asked, named in its features; null: no answer comes. */
  answer: ((ask: Ask) => NodeAnswer | null) | null = null;
  /** Leases on this node, by run and epoch. */
  readonly holds = new Map<string, Lease>();
  private readonly unacknowledged = new Map<string, Report>();
  private readonly logWaiters = new Map<string, (ack: { nextOffset: number; stale: boolean; window: number }) => void>();
  private timer: NodeJS.Timeout | null = null;
  private sequence = 0;
  private reportSequence = 0;

  private constructor(
    readonly nodeId: string,
    readonly credential: string,
    readonly offer: AgentOffer,
  ) {}

  /** Joins with a token; the peer is not connected yet. */
  static async join(url: string, token: string, name: string, offer: AgentOffer): Promise<AgentPeer> {
    const response = await fetch(`${url}/v1/nodes/join`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token, name }),
    });
    if (!response.ok) throw new Error(`join answered ${response.status}: ${await response.text()}`);
    const { nodeId, credential } = (await response.json()) as { nodeId: string; credential: string };
    return new AgentPeer(nodeId, credential, offer);
  }

  /** Dials both channels and waits for the welcome. Heartbeats follow on their own, unless `silent`. */
  async connect(url: string, options: { silent?: boolean } = {}): Promise<void> {
    this.welcome = null;
    const control = this.dial(url, 'control');
    control.on('message', (bytes) => this.receive(controlMessage.parse(JSON.parse(String(bytes)))));
    control.on('close', (code, reason) => this.closes.push({ code, reason: String(reason) }));
    const logs = this.dial(url, 'logs');
    logs.on('message', (bytes) => {
      const { nextOffset, window, stale, ...lease } = logAck.parse(JSON.parse(String(bytes)));
      this.logWaiters.get(key(lease))?.({ nextOffset, stale, window });
    });
    await Promise.all([once(control, 'open'), once(logs, 'open')]);
    this.control = control;
    this.logs = logs;
    this.send({
      type: 'hello',
      protocol: agentProtocol,
      agentVersion: 'peer',
      kernel: '6.1.0',
      architecture: 'amd64',
      cgroupMode: 'v2',
      features: this.answer === null ? [] : ['changes', 'commit'],
      ...this.offer,
      holds: [...this.holds.values()],
    });
    await new Promise<void>((resolve, reject) => {
      control.once('message', () => resolve());
      control.once('close', () => reject(new Error('closed before the welcome')));
    });
    this.resend();
    if (options.silent !== true) this.timer = setInterval(() => this.beat(), this.heartbeatMs);
  }

  /** Goes away without a word, as a machine that lost power. */
  vanish(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    this.control?.terminate();
    this.logs?.terminate();
  }

  beat(): void {
    const disk = this.disk === undefined ? {} : { disk: this.disk };
    const layers = this.layers === undefined ? {} : { layers: [...this.layers] };
    this.send({ type: 'heartbeat', sequence: ++this.sequence, holds: [...this.holds.values()], ...disk, ...layers });
  }

  report(lease: Lease, fact: Fact, id = `r${++this.reportSequence}`): string {
    const { runId, attempt, epoch } = lease;
    const report = { id, runId, attempt, epoch, ...fact } as Report;
    this.unacknowledged.set(id, report);
    this.send({ type: 'reports', reports: [report] });
    return id;
  }

  exit(lease: Lease, exit: Partial<ExitRecord>): string {
    this.holds.delete(key(lease));
    const now = new Date().toISOString();
    return this.report(lease, {
      kind: 'exited',
      exit: {
        exitCode: null,
        signal: null,
        oomKilled: false,
        stoppedBy: null,
        startedAt: now,
        finishedAt: now,
        peakMemoryBytes: 1024 * 1024,
        cpuTimeUs: 1500,
        usage: null,
        logBytes: 0,
        logDroppedBytes: 0,
        ...exit,
      },
    });
  }

  /** Sends one chunk of an attempt's log and waits for its acknowledgement. */
  ship({ runId, attempt, epoch }: Lease, offset: number, bytes: Buffer): Promise<{ nextOffset: number; stale: boolean; window: number }> {
    const lease = { runId, attempt, epoch };
    return new Promise((resolve) => {
      this.logWaiters.set(key(lease), resolve);
      this.logs?.send(JSON.stringify({ type: 'logChunk', ...lease, offset, bytes: bytes.toString('base64') }));
    });
  }

  /** The runs that were assigned, each once. */
  get runIds(): string[] {
    return [...new Set(this.assignments.map(({ runId }) => runId))];
  }

  send(message: AgentMessage): void {
    if (this.control?.readyState === WebSocket.OPEN) this.control.send(JSON.stringify(message));
  }

  private get heartbeatMs(): number {
    return this.welcome?.heartbeatMs ?? 200;
  }

  private resend(): void {
    const reports = [...this.unacknowledged.values()];
    if (reports.length > 0) this.send({ type: 'reports', reports });
  }

  private dial(url: string, channel: 'control' | 'logs'): WebSocket {
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/nodes/link?channel=${channel}`, {
      headers: { authorization: `Bearer ${this.credential}` },
    });
    socket.on('error', () => {});
    return socket;
  }

  private receive(message: ControlMessage): void {
    switch (message.type) {
      case 'welcome':
        this.welcome = message;
        break;
      case 'heartbeatAck':
        this.heartbeatAcks++;
        break;
      case 'assign':
        for (const assignment of message.assignments) this.take(assignment);
        break;
      case 'stop':
        this.stops.push(message);
        if (this.holds.has(key(message.lease))) this.stopHeld(message);
        else if (message.reason === 'canceled' && !this.wasGiven(message.lease)) this.report(message.lease, { kind: 'stopped' });
        break;
      case 'ask': {
        const answer = this.answer?.(message) ?? null;
        if (answer !== null) this.send({ type: 'answer', id: message.id, answer });
        break;
      }
      case 'reportAcks':
        for (const ack of message.acks) {
          this.unacknowledged.delete(ack.id);
          this.acks.push(ack);
        }
        break;
    }
  }

  private take(assignment: Assignment): void {
    this.assignments.push(assignment);
    if (this.holds.has(key(assignment))) return;
    const { runId, attempt, epoch } = assignment;
    this.holds.set(key(assignment), { runId, attempt, epoch });
    void this.behaviour(this, assignment);
  }

  /** A run that is canceled between its placement and its dispatch is stopped without ever having been assigned. */
  private wasGiven(lease: Lease): boolean {
    return this.assignments.some((assignment) => key(assignment) === key(lease));
  }

  private stopHeld({ lease, reason }: Stop): void {
    if (reason === 'canceled') {
      this.report(lease, { kind: 'stopping' });
      this.exit(lease, { signal: 15, stoppedBy: 'request' });
    } else this.holds.delete(key(lease));
  }
}

function key({ runId, epoch }: { runId: string; epoch: number }): string {
  return `${runId}/${epoch}`;
}

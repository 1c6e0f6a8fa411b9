import { randomUUID } from 'node:crypto';
import { Relay } from '@berth/queue';
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, type Logger } from '../logger.js';

/** What replicas of the control plane tell each other. Ids only: whoever hears looks into the store. */
export type Signal =
  /** These runs, or their events, are not what they were. */
  | { readonly kind: 'runsChanged'; readonly runIds: readonly string[] }
  /** Whoever has this node's connection: tell it what the store has for these runs. */
  | { readonly kind: 'look'; readonly nodeId: string; readonly runIds: readonly string[] }
  /** The node is connected to the sender now. */
  | { readonly kind: 'linkOpened'; readonly nodeId: string }
  /** Whoever has this node's connection: pass this question on. */
  | { readonly kind: 'ask'; readonly nodeId: string; readonly questionId: string }
  /** A node has answered. */
  | { readonly kind: 'answered'; readonly questionId: string }
  /** The tenant's policy, or who may speak for it, is not what it was. */
  | { readonly kind: 'tenantChanged'; readonly tenantId: string | null };

type Kind = Signal['kind'];
type Handler<K extends Kind> = (signal: Extract<Signal, { kind: K }>) => void;

const channel = 'replicas';
/** So many run ids fit into one message of the relay. */
const runIdsMax = 150;
/** Changes that come close together travel together. */
const gatherMs = 10;

/** Carries signals to all other replicas. Like every hint, one may get lost: whoever waits for it looks now and then without it. */
@Injectable()
export class Signals {
  private readonly replica = randomUUID();
  private readonly handlers = new Map<Kind, ((signal: Signal) => void)[]>();
  private changed = new Set<string>();

  constructor(
    @Inject(Relay) private readonly relay: Relay,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Calls `handler` for each signal of the kind from another replica. */
  on<K extends Kind>(kind: K, handler: Handler<K>): void {
    this.handlers.set(kind, [...(this.handlers.get(kind) ?? []), handler as (signal: Signal) => void]);
  }

  async start(): Promise<void> {
    await this.relay.subscribe(channel, (message) => {
      const { from, signal } = JSON.parse(message) as { from: string; signal: Signal };
      if (from !== this.replica) for (const handler of this.handlers.get(signal.kind) ?? []) handler(signal);
    });
  }

  send(signal: Signal): void {
    if (signal.kind === 'runsChanged') this.gather(signal.runIds);
    else if (signal.kind !== 'look') this.publish(signal);
    else for (const runIds of batches(signal.runIds)) this.publish({ ...signal, runIds });
  }

  private gather(runIds: readonly string[]): void {
    if (this.changed.size === 0) setTimeout(() => this.publishChanged(), gatherMs);
    for (const runId of runIds) this.changed.add(runId);
  }

  private publishChanged(): void {
    const runIds = [...this.changed];
    this.changed = new Set();
    for (const batch of batches(runIds)) this.publish({ kind: 'runsChanged', runIds: batch });
  }

  private publish(signal: Signal): void {
    this.relay.publish(channel, JSON.stringify({ from: this.replica, signal })).then(
      (sent) => {
        if (!sent) this.logger.debug({ kind: signal.kind }, 'signal not sent');
      },
      (error: unknown) => this.logger.error({ err: error, kind: signal.kind }, 'signal not sent'),
    );
  }
}

function batches(runIds: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(runIds.length / runIdsMax) }, (_, i) => runIds.slice(i * runIdsMax, (i + 1) * runIdsMax));
}

import { Injectable } from '@nestjs/common';
import { Signals } from '../queue/signals.js';

/** What the fleet asks of one node's control connection. */
export interface NodeLink {
  readonly nodeId: string;
  /** Sends the node what the store has for these runs: assignments, or stops. */
  look(runIds: readonly string[]): void;
  /** Passes a question of the store on to the node. */
  ask(questionId: string): void;
  close(code: number, reason: string): void;
}

/** The agent link's close codes: RFC 6455, 7.4, and from 4000 on our own. */
export const closeCodes = { goingAway: 1001, policyViolation: 1008, internal: 1011, serviceRestart: 1012, replaced: 4000 } as const;

/** The nodes whose control connection ends here, and the way to those whose does not. */
@Injectable()
export class NodeLinks {
  private readonly links = new Map<string, NodeLink>();

  constructor(private readonly signals: Signals) {
    signals.on('look', ({ nodeId, runIds }) => this.links.get(nodeId)?.look(runIds));
    signals.on('ask', ({ nodeId, questionId }) => this.links.get(nodeId)?.ask(questionId));
    signals.on('linkOpened', ({ nodeId }) => this.links.get(nodeId)?.close(closeCodes.replaced, 'the node has a newer link'));
  }

  get count(): number {
    return this.links.size;
  }

  /** Takes a new connection; an older one of the same node, here or on another replica, is closed. */
  opened(link: NodeLink): void {
    this.links.get(link.nodeId)?.close(closeCodes.replaced, 'the node has a newer link');
    this.links.set(link.nodeId, link);
    this.signals.send({ kind: 'linkOpened', nodeId: link.nodeId });
  }

  closed(link: NodeLink): void {
    if (this.links.get(link.nodeId) === link) this.links.delete(link.nodeId);
  }

  /**
   * Has the node told what the store has for these runs, on whichever replica it is connected. A hint: a node that misses it is told at its next
   * heartbeat.
   */
  look(nodeId: string, runIds: readonly string[]): void {
    const link = this.links.get(nodeId);
    if (link !== undefined) link.look(runIds);
    else this.signals.send({ kind: 'look', nodeId, runIds });
  }

  /** Has a question passed on, by whichever replica the node is connected to. A hint that may get lost. */
  ask(nodeId: string, questionId: string): void {
    const link = this.links.get(nodeId);
    if (link !== undefined) link.ask(questionId);
    else this.signals.send({ kind: 'ask', nodeId, questionId });
  }
}

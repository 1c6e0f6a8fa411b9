import { type Actor, type NodeRow, NodeStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { WakeUps } from '../queue/wake-ups.js';
import { LoseNodes } from '../scheduler/lose-nodes.js';

/** The operator's word on a node: `draining` takes no more runs, `dead` will never come back, `ready` takes runs again. */
@Injectable()
export class ChangeNodeState {
  constructor(
    @Inject(NodeStore) private readonly nodes: NodeStore,
    private readonly loseNodes: LoseNodes,
    private readonly wakeUps: WakeUps,
  ) {}

  /** Null when there is no such node. The runs of a dead node are ended or queued again before it returns. */
  async execute(nodeId: string, state: 'ready' | 'draining' | 'dead', by: Actor): Promise<NodeRow | null> {
    const node = await this.nodes.setState(nodeId, state, by);
    if (node !== null && state === 'dead') await this.loseNodes.release();
    if (node !== null && state === 'ready') this.wakeUps.capacityFreed();
    return node;
  }
}

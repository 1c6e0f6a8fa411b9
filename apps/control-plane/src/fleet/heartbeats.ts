import { NodeStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';
import { SingleFlight } from '../single-flight.js';

/** Notes heartbeats of many nodes with one statement. */
@Injectable()
export class Heartbeats {
  private waiting = new Set<string>();
  private readonly flight = new SingleFlight(() => this.flush());

  constructor(@Inject(NodeStore) private readonly nodes: NodeStore) {}

  /**
   * Resolves when the store has the heartbeat. Only then may it be acknowledged: a node trusts its lease for T_stop from an acknowledged heartbeat,
   * so the store must know of it for T_lost from no earlier.
   */
  record(nodeId: string): Promise<void> {
    this.waiting.add(nodeId);
    return this.flight.run();
  }

  private async flush(): Promise<void> {
    // Heartbeats that arrive together share the statement.
    await new Promise((resolve) => setImmediate(resolve));
    const nodeIds = [...this.waiting];
    this.waiting = new Set();
    if (nodeIds.length > 0) await this.nodes.heartbeats(nodeIds, new Date());
  }
}

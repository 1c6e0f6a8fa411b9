import type { LeaseRow } from '@berth/store';
import { Injectable } from '@nestjs/common';
import { RunChanges } from '../reporting/run-changes.js';
import { NodeLinks } from './node-links.js';

/** Has nodes look at what was placed on them, and tells whoever waits for the runs. */
@Injectable()
export class DispatchRuns {
  constructor(
    private readonly links: NodeLinks,
    private readonly changes: RunChanges,
  ) {}

  execute(placed: readonly { readonly nodeId: string; readonly lease: LeaseRow }[]): void {
    const byNode = new Map<string, string[]>();
    for (const { nodeId, lease } of placed) {
      const runIds = byNode.get(nodeId) ?? [];
      runIds.push(lease.runId);
      byNode.set(nodeId, runIds);
    }
    for (const [nodeId, runIds] of byNode) this.links.look(nodeId, runIds);
    this.changes.announce(placed.map(({ lease }) => lease.runId));
  }
}

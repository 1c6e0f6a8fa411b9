import { embeddedRegistry, mintPullToken, parseImageReference } from '@berth/core';
import { type AssignmentRow, type HeldLeaseRow, type LeaseRow, RunStore } from '@berth/store';
import type { Assignment, Lease, RunSpec } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';
import { Gathering } from '../gathering.js';

/** What a node should do about one run that is placed on it. */
export type NodeOrder =
  | { readonly kind: 'assign'; readonly lease: LeaseRow; readonly submittedAt: Date; readonly assignment: () => Assignment }
  | { readonly kind: 'stop'; readonly lease: LeaseRow; readonly submittedAt: Date; readonly graceMs: number };

/** Reads from the store what a node should be doing. Only runs placed on the node, whatever ids are asked for. */
@Injectable()
export class NodeOrders {
  /** A batch of placements goes to many nodes, which then all look at once. */
  private readonly looks: Gathering<{ nodeId: string; runIds: readonly string[] }, AssignmentRow[]>;

  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    this.looks = new Gathering(async (asked) => {
      const rows = await runs.assignments(asked);
      return asked.map(({ nodeId, runIds }) => rows.filter((row) => row.nodeId === nodeId && runIds.includes(row.lease.runId)));
    });
  }

  /** Orders for these runs, as the store has them after this call. */
  async of(nodeId: string, runIds: readonly string[]): Promise<NodeOrder[]> {
    if (runIds.length === 0) return [];
    const rows = await this.looks.run({ nodeId, runIds });
    return rows.map(({ run, lease, stop }) => {
      const submittedAt = run.createdAt;
      return stop
        ? { kind: 'stop', lease, submittedAt, graceMs: (run.spec as RunSpec).stopGraceMs }
        : { kind: 'assign', lease, submittedAt, assignment: () => this.assignment(run, lease) };
    });
  }

  /** Everything that the node should hold. */
  held(nodeId: string): Promise<HeldLeaseRow[]> {
    return this.runs.leases(nodeId);
  }

  /** The pull token in it is minted now and is nowhere else. */
  private assignment(run: AssignmentRow['run'], { runId, attempt, epoch }: LeaseRow): Assignment {
    const { registry, repository } = parseImageReference(run.image);
    return {
      runId,
      attempt,
      epoch,
      tenant: run.tenantName,
      image: { reference: `${registry}/${repository}`, digest: run.digest },
      pullAuthorization: registry === embeddedRegistry ? this.pullAuthorization(repository) : null,
      spec: run.spec as RunSpec,
    };
  }

  private pullAuthorization(repository: string): string {
    const { secret, pullTokenMs } = this.config.registry;
    const exp = Math.floor((Date.now() + pullTokenMs) / 1000);
    return `Bearer ${mintPullToken({ repositories: [repository], actions: ['pull'], exp }, secret)}`;
  }
}

/** Names a lease in sets and maps. */
export function leaseKey({ runId, epoch }: Pick<Lease, 'runId' | 'epoch'>): string {
  return `${runId}/${epoch}`;
}

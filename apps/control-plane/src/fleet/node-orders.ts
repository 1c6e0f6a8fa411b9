import { embeddedRegistry, mintPullToken, parseImageReference } from '@berth/core';
import { type LeaseRow, type RunRow, RunStore } from '@berth/store';
import type { Assignment, Lease, RunSpec } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config.js';

/** What a node should do about one run that is placed on it. */
export type NodeOrder =
  | { readonly kind: 'assign'; readonly lease: LeaseRow; readonly submittedAt: Date; readonly assignment: () => Assignment }
  | { readonly kind: 'stop'; readonly lease: LeaseRow; readonly submittedAt: Date; readonly graceMs: number };

/** Reads from the store what a node should be doing. Only runs placed on the node, whatever ids are asked for. */
@Injectable()
export class NodeOrders {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** Orders for these runs, or for all that the node should hold. */
  async of(nodeId: string, only: readonly string[] | undefined): Promise<NodeOrder[]> {
    const rows = await this.runs.assignments(nodeId, only === undefined ? undefined : [...only]);
    return rows.map(({ run, lease, stop }) => {
      const submittedAt = run.createdAt;
      return stop
        ? { kind: 'stop', lease, submittedAt, graceMs: (run.spec as RunSpec).stopGraceMs }
        : { kind: 'assign', lease, submittedAt, assignment: () => this.assignment(run, lease) };
    });
  }

  /** The pull token in it is minted now and is nowhere else. */
  private assignment(run: RunRow, { runId, attempt, epoch }: LeaseRow): Assignment {
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

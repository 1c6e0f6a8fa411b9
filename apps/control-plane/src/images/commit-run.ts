import { embeddedRegistry, parseImageReference } from '@berth/core';
import { type Actor, AuditStore, type TenantRow } from '@berth/store';
import type { CommitRequest, CommitResult } from '@berth/wire';
import { Inject, Injectable } from '@nestjs/common';
import { AskRun } from '../reporting/ask-run.js';

/** Layers may be large, and the registry far. */
const timeoutMs = 15 * 60_000;

/** Has a run's node push the run's image with what its container wrote, as an image of the tenant's. */
@Injectable()
export class CommitRun {
  constructor(
    private readonly askRun: AskRun,
    @Inject(AuditStore) private readonly audit: AuditStore,
  ) {}

  /** Null when there is no such run; throws as AskRun does. */
  async execute(
    tenant: TenantRow,
    runId: string,
    { name, tag }: CommitRequest,
    by: Actor,
    signal: AbortSignal,
  ): Promise<CommitResult | null> {
    const target = `${tenant.name}/${name}`;
    const answer = await this.askRun.execute(
      tenant,
      runId,
      'commit',
      async (run) => {
        await this.audit.record(by, { action: 'image.commit', tenantId: tenant.id, target: `${target}:${tag}`, details: { runId } });
        const { registry, repository } = parseImageReference(run.image);
        return {
          kind: 'commit',
          repository: target,
          tag,
          createdAt: new Date().toISOString(),
          sourceRepository: registry === embeddedRegistry ? repository : null,
          pullAuthorization: null,
          pushAuthorization: null,
        };
      },
      { timeoutMs, signal },
    );
    if (answer === null) return null;
    const { digest, layerDigest, layerBytes } = answer;
    return { image: `${embeddedRegistry}/${target}:${tag}`, digest, layerDigest, layerBytes };
  }
}

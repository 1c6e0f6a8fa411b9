import { randomBytes } from 'node:crypto';
import { hashSecret, newSecret, secretRandomBytes } from '@berth/core';
import { type Actor, NodeStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';

const defaultLifeMs = 3_600_000;

/** Makes a token with which machines may join as nodes. The store gets its hash. */
@Injectable()
export class CreateJoinToken {
  constructor(@Inject(NodeStore) private readonly nodes: NodeStore) {}

  async execute(
    options: { expiresInMs?: number | undefined; uses?: number | undefined },
    by: Actor,
  ): Promise<{ token: string; expiresAt: Date }> {
    const token = newSecret('bjoin', randomBytes(secretRandomBytes));
    const expiresAt = new Date(Date.now() + (options.expiresInMs ?? defaultLifeMs));
    await this.nodes.createJoinToken({ hash: hashSecret(token), expiresAt, uses: options.uses ?? 1 }, by);
    return { token, expiresAt };
  }
}

import { randomBytes } from 'node:crypto';
import { AppError, hashSecret, isSecret, newSecret, secretRandomBytes } from '@berth/core';
import { NodeStore } from '@berth/store';
import { Inject, Injectable } from '@nestjs/common';

/** Trades a join token for a node and the credential with which it dials from then on. */
@Injectable()
export class JoinNode {
  constructor(@Inject(NodeStore) private readonly nodes: NodeStore) {}

  /** Refuses, as `unauthorized`, a token that is unknown, spent or expired. */
  async execute(token: string, name: string): Promise<{ nodeId: string; credential: string }> {
    const credential = newSecret('bnode', randomBytes(secretRandomBytes));
    const node = isSecret('bjoin', token)
      ? await this.nodes.join({ tokenHash: hashSecret(token), credentialHash: hashSecret(credential), name, now: new Date() })
      : null;
    if (node === null) throw new AppError('unauthorized', 'the join token is unknown, spent or expired; ask the operator for a fresh one');
    return { nodeId: node.id, credential };
  }
}

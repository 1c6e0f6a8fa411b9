import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { embeddedRegistry, parseImageReference } from '@berth/core';
import { commitImage, hostPlatform, type RegistryClient, type Snapshotter, type UnpackLimits, type WrittenLayer } from '@berth/image';
import type { NodeAnswer, NodeQuestion } from '@berth/wire';
import type { Attempt } from '../attempts/attempt.js';
import type { NodeRuntimes } from '../runtimes/node-runtimes.js';

type Question = Extract<NodeQuestion, { kind: 'commit' }>;

export interface CommitParts {
  readonly snapshotter: Snapshotter;
  readonly runtimes: NodeRuntimes;
  /** Where layers lie until they are pushed; nothing in it outlives the agent. */
  readonly directory: string;
  /** A client with a whole Authorization header value. */
  readonly client: (authorization: string | null) => RegistryClient;
}

/** What one commit may write; a pull takes no larger layer. */
const limits: UnpackLimits = { layerBytesMax: 16 * 1024 ** 3, layerEntriesMax: 4 * 1024 ** 2 };

/** Makes images of running containers, one at a time: each holds a layer on this node's disk until it is pushed. */
export class CommitContainer {
  #last: Promise<unknown>;

  /** Removes what an earlier agent left in the directory. */
  constructor(private readonly parts: CommitParts) {
    this.#last = rm(parts.directory, { recursive: true, force: true });
  }

  /** Null when the container has no filesystem here. */
  execute(attempt: Attempt, question: Question): Promise<NodeAnswer | null> {
    const mine = this.#last.then(
      () => this.commit(attempt, question),
      () => this.commit(attempt, question),
    );
    this.#last = mine.catch(() => {});
    return mine;
  }

  private async commit(attempt: Attempt, question: Question): Promise<NodeAnswer | null> {
    const { directory, client } = this.parts;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, randomUUID());
    try {
      const layer = await this.readPaused(attempt, file);
      if (layer === null) return null;
      const { reference, digest } = attempt.assignment.image;
      const made = await commitImage({
        base: { ...parseImageReference(reference), digest },
        source: client(question.pullAuthorization),
        name: { registry: embeddedRegistry, repository: question.repository, tag: question.tag },
        target: client(question.pushAuthorization),
        platform: hostPlatform(),
        layer,
        file,
        createdAt: question.createdAt,
      });
      return { kind: 'commit', digest: made, layerDigest: layer.digest, layerBytes: layer.size };
    } finally {
      await rm(file, { force: true });
    }
  }

  /** The container stands still while it is read. A marker on disk has the next agent let it go on, should this one die meanwhile. */
  private async readPaused({ key, directory, assignment }: Attempt, file: string): Promise<WrittenLayer | null> {
    const { snapshotter, runtimes } = this.parts;
    const containers = runtimes.get(assignment.spec.runtimeClass)?.containers;
    if (containers === undefined) return null;
    await directory.markPaused();
    try {
      await containers.pause(directory.sandbox);
      // A sandbox that waited with its root has it under its own name.
      for (const name of new Set([key, directory.sandbox])) {
        const layer = await snapshotter.writeLayer(name, file, limits);
        if (layer !== null) return layer;
      }
      return null;
    } finally {
      await containers.resume(directory.sandbox);
      await directory.unmarkPaused();
    }
  }
}

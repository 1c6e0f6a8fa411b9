import { join } from 'node:path';

/**
 * Which snapshots stand on which layers, and so which layers' images must be mounted. Holds no handle of anything: what it says of a directory of
 * mount points, somebody else makes true.
 */
export class LayerMounts {
  readonly #users = new Map<string, Set<string>>();

  constructor(readonly dir: string) {}

  /** Where a layer's image is mounted while snapshots stand on it. */
  pathOf(diffId: string): string {
    return join(this.dir, diffId.slice('sha256:'.length));
  }

  hold(key: string, diffIds: Iterable<string>): void {
    for (const diffId of diffIds) this.#users.set(diffId, (this.#users.get(diffId) ?? new Set()).add(key));
  }

  /** Ends what a snapshot holds, and returns the mount points that nobody holds any more. */
  drop(key: string): string[] {
    const freed: string[] = [];
    for (const [diffId, keys] of this.#users) {
      if (!keys.delete(key) || keys.size > 0) continue;
      this.#users.delete(diffId);
      freed.push(this.pathOf(diffId));
    }
    return freed;
  }

  /** The mount points that are held. */
  held(): string[] {
    return [...this.#users.keys()].map((diffId) => this.pathOf(diffId));
  }
}

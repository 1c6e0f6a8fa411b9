/*
 * What may be removed, as pure functions of what is there. A manifest is a root, tagged or not, because runs are pinned to digests: only
 * its owner deletes it. Blobs live by the manifests that name them, content by the links that show it. Whatever is younger than the grace
 * stays, since a push uploads its blobs before the manifest that names them.
 */

/** Everything that can be reached from `roots`, they included. Each node's references are asked for once. */
export function reachable<Node>(roots: Iterable<Node>, referencesOf: (node: Node) => Iterable<Node>): Set<Node> {
  const seen = new Set(roots);
  // A Set's iteration visits what is added during it, so this is a breadth-first walk.
  for (const node of seen) for (const next of referencesOf(node)) seen.add(next);
  return seen;
}

export interface Dated<Node> {
  readonly digest: Node;
  /** Unix milliseconds. */
  readonly touchedAtMs: number;
}

/** Those of `held` that nothing reaches and that were last touched before `cutoffMs`. */
export function sweepable<Node>(held: Iterable<Dated<Node>>, reached: ReadonlySet<Node>, cutoffMs: number): Node[] {
  const chosen: Node[] = [];
  for (const { digest, touchedAtMs } of held) if (touchedAtMs < cutoffMs && !reached.has(digest)) chosen.push(digest);
  return chosen;
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reachable, sweepable } from './reachability.js';

const graph = fc.array(fc.array(fc.nat({ max: 9 }), { maxLength: 3 }), { minLength: 10, maxLength: 10 });

describe('reachability', () => {
  it('is the least set that holds the roots and is closed under references', () => {
    fc.assert(
      fc.property(graph, fc.array(fc.nat({ max: 9 })), (edges, roots) => {
        const reached = reachable(roots, (node) => edges[node] ?? []);
        for (const root of roots) expect(reached.has(root)).toBe(true);
        for (const node of reached) for (const next of edges[node] ?? []) expect(reached.has(next)).toBe(true);
        for (const node of reached) {
          const without = new Set([...reached].filter((other) => other !== node));
          const closed = [...without].every((other) => (edges[other] ?? []).every((next) => without.has(next)));
          // Whoever can be left out alone must be a root: otherwise nothing led to it.
          if (closed) expect(roots).toContain(node);
        }
      }),
    );
  });

  it('ends on a cycle and asks each node once', () => {
    const asked: number[] = [];
    reachable([0], (node) => {
      asked.push(node);
      return [(node + 1) % 3];
    });
    expect(asked).toEqual([0, 1, 2]);
  });

  it('sweeps neither what is reached nor what is young', () => {
    const held = [
      { digest: 'old', touchedAtMs: 9 },
      { digest: 'needed', touchedAtMs: 9 },
      { digest: 'young', touchedAtMs: 10 },
    ];
    expect(sweepable(held, new Set(['needed']), 10)).toEqual(['old']);
  });
});

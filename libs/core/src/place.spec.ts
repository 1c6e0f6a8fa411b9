import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Fleet, type FleetNode, fitScore, type NodeState, type PlacementPolicy, type PlacementRequest, place } from './place.js';

const states: readonly NodeState[] = ['ready', 'lost', 'draining', 'dead'];
const node = fc.record({
  state: fc.constantFrom(...states, 'ready' as const, 'ready' as const),
  cpuMillis: fc.integer({ min: 0, max: 4000 }),
  memoryBytes: fc.integer({ min: 0, max: 4000 }),
  usedShare: fc.integer({ min: 0, max: 100 }),
  features: fc.subarray(['runtime:runc', 'runtime:runsc']),
});
const fleet: fc.Arbitrary<Fleet> = fc.array(node, { maxLength: 8 }).map((nodes) => ({
  nodes: nodes.map(({ usedShare, ...rest }, i) => ({
    id: `node_${i}`,
    ...rest,
    reserved: {
      cpuMillis: Math.floor((rest.cpuMillis * usedShare) / 100),
      memoryBytes: Math.floor((rest.memoryBytes * usedShare) / 100),
      runs: 0,
    },
  })),
}));
const runs: fc.Arbitrary<PlacementRequest[]> = fc
  .array(
    fc.record({
      cpuMillis: fc.integer({ min: 1, max: 2000 }),
      memoryBytes: fc.integer({ min: 1, max: 2000 }),
      needs: fc.subarray(['runtime:runc', 'runtime:runsc']),
    }),
    { maxLength: 20 },
  )
  .map((requests) => requests.map((request, i) => ({ runId: `run_${i}`, ...request })));

const policy = fc.constantFrom<PlacementPolicy>('spread', 'pack');

function ready(id: string, cpuMillis: number, memoryBytes: number, used = 0): FleetNode {
  return { id, state: 'ready', cpuMillis, memoryBytes, reserved: { cpuMillis: used, memoryBytes: used, runs: 0 }, features: [] };
}

describe('placement', () => {
  it('answers for every run once, and never takes more than a node has', () => {
    fc.assert(
      fc.property(fleet, runs, policy, (view, requests, by) => {
        const { placements, unplaced } = place(view, requests, by);
        const answered = [...placements, ...unplaced].map((answer) => answer.runId);
        expect(answered.toSorted()).toEqual(requests.map((run) => run.runId).toSorted());
        for (const target of view.nodes) {
          const here = requests.filter((run) => placements.some((p) => p.runId === run.runId && p.nodeId === target.id));
          if (here.length === 0) continue;
          expect(target.state).toBe('ready');
          for (const run of here) expect(target.features).toEqual(expect.arrayContaining([...run.needs]));
          expect(target.reserved.cpuMillis + sum(here, 'cpuMillis')).toBeLessThanOrEqual(target.cpuMillis);
          expect(target.reserved.memoryBytes + sum(here, 'memoryBytes')).toBeLessThanOrEqual(target.memoryBytes);
        }
      }),
    );
  });

  it('leaves the first run unplaced only if no ready node has room for it', () => {
    fc.assert(
      fc.property(fleet, runs, policy, (view, requests, by) => {
        const first = requests[0];
        fc.pre(first !== undefined);
        const hasRoom = view.nodes.some(
          (n) =>
            n.state === 'ready' &&
            n.cpuMillis - n.reserved.cpuMillis >= first.cpuMillis &&
            n.memoryBytes - n.reserved.memoryBytes >= first.memoryBytes &&
            first.needs.every((need) => n.features.includes(need)),
        );
        expect(place(view, requests, by).placements.some((p) => p.runId === first.runId)).toBe(hasRoom);
      }),
    );
  });

  it('gives equal answers to equal inputs, in whatever order the nodes come, and changes neither', () => {
    fc.assert(
      fc.property(fleet, runs, policy, (view, requests, by) => {
        const before = JSON.stringify({ view, requests });
        const answer = place(view, requests, by);
        expect(place({ nodes: view.nodes.toReversed() }, requests, by)).toEqual(answer);
        expect(JSON.stringify({ view, requests })).toBe(before);
      }),
    );
  });

  it.each([
    ['pack', 'prefers the fuller of two nodes, and spills over to the other', ['node_b', 'node_a']],
    ['spread', 'prefers the emptier of two nodes until both are as full', ['node_a', 'node_b']],
  ] as const)('by "%s" %s', (by, _, expected) => {
    const view = { nodes: [ready('node_a', 1000, 1000), ready('node_b', 1000, 1000, 300)] };
    const request = { cpuMillis: 400, memoryBytes: 400, needs: [] };
    const { placements } = place(
      view,
      [
        { runId: 'run_1', ...request },
        { runId: 'run_2', ...request },
      ],
      by,
    );
    expect(placements.map((p) => p.nodeId)).toEqual(expected);
  });

  it('spreads over three nodes of unequal size, one full and one dead, to where there is room', () => {
    const view: Fleet = {
      nodes: [ready('node_full', 4000, 4000, 4000), { ...ready('node_dead', 8000, 8000), state: 'dead' }, ready('node_small', 1000, 1000)],
    };
    const { placements, unplaced } = place(
      view,
      [1, 2, 3].map((i) => ({ runId: `run_${i}`, cpuMillis: 500, memoryBytes: 100, needs: [] })),
      'spread',
    );
    expect(placements.map((p) => p.nodeId)).toEqual(['node_small', 'node_small']);
    expect(unplaced).toEqual([{ runId: 'run_3', reason: 'cpuMillis: no node has enough free' }]);
  });

  it.each([
    [[], 'no node is ready'],
    [[{ ...ready('node_a', 9000, 9000), state: 'draining' as const }], 'no node is ready'],
    [[ready('node_a', 999, 9000), ready('node_b', 1, 9000)], 'cpuMillis: no ready node is large enough'],
    [[ready('node_a', 9000, 999)], 'memoryBytes: no ready node is large enough'],
    [[ready('node_a', 9000, 1), ready('node_b', 1, 9000)], 'cpuMillis and memoryBytes: no ready node is large enough in both'],
    [[ready('node_a', 1000, 9000, 1)], 'cpuMillis: no node has enough free'],
    [[ready('node_a', 9000, 1000, 1)], 'memoryBytes: no node has enough free'],
  ])('names the exhausted dimension (%#)', (nodes, reason) => {
    const { unplaced } = place({ nodes }, [{ runId: 'run_1', cpuMillis: 1000, memoryBytes: 1000, needs: [] }], 'spread');
    expect(unplaced).toEqual([{ runId: 'run_1', reason }]);
  });

  it('names what no node offers, and looks only at the room of those that do', () => {
    const nodes = [ready('node_a', 9000, 9000), { ...ready('node_b', 1000, 1000, 1), features: ['runtime:runc'] }];
    const run = { runId: 'run_1', cpuMillis: 1000, memoryBytes: 10 };
    const reasonFor = (needs: string[]) => place({ nodes }, [{ ...run, needs }], 'spread').unplaced[0]?.reason;
    expect(reasonFor(['runtime:runsc'])).toBe('runtime:runsc: no ready node offers it');
    expect(reasonFor(['runtime:runc'])).toBe('cpuMillis: no node has enough free');
    expect(reasonFor([])).toBeUndefined();
  });

  describe('by the bytes that nodes hold of an image', () => {
    const run = { runId: 'run_1', cpuMillis: 100, memoryBytes: 100, needs: [] };
    const chosen = (nodes: FleetNode[], missing: Record<string, number>, policy: PlacementPolicy = 'spread') =>
      place({ nodes }, [run], policy, (nodeId) => missing[nodeId] ?? 0).placements[0]?.nodeId;

    it('takes, of nodes that fit alike, the one that lacks least', () => {
      const nodes = ['node_a', 'node_b', 'node_c'].map((id) => ready(id, 9000, 9000));
      for (const policy of ['spread', 'pack'] as const)
        expect(chosen(nodes, { node_a: 5_000_000, node_b: 1_000_000, node_c: 2_000_000 }, policy)).toBe('node_b');
    });

    it('lets a great pull outweigh a somewhat worse fit, but a small one only what is equal', () => {
      const nodes = [
        ready('node_a', 9000, 9000),
        { ...ready('node_b', 9000, 9000), reserved: { cpuMillis: 1000, memoryBytes: 1000, runs: 1 } },
      ];
      expect(chosen(nodes, { node_a: 2 ** 30 })).toBe('node_b');
      expect(chosen(nodes, { node_a: 2 ** 20 })).toBe('node_a');
    });

    it('never takes a node without room for it', () => {
      expect(chosen([ready('node_a', 9000, 9000), ready('node_b', 10, 9000)], { node_a: 2 ** 40 })).toBe('node_a');
    });
  });

  it('scores a full node highest and an empty one lowest', () => {
    const capacity = { cpuMillis: 100, memoryBytes: 100 };
    expect(fitScore(capacity, { cpuMillis: 0, memoryBytes: 0 })).toBe(18);
    expect(fitScore(capacity, capacity)).toBe(0);
  });
});

function sum(requests: readonly PlacementRequest[], dimension: 'cpuMillis' | 'memoryBytes'): number {
  return requests.reduce((total, run) => total + run[dimension], 0);
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decayShare, dominantShare, fairOrder, owedShares, type TenantStanding } from './fairness.js';

const capacity = { cpuMillis: 100_000, memoryBytes: 100_000 };
const nothing = { cpuMillis: 0, memoryBytes: 0 };
interface Sized {
  id: number;
  tenantId: string;
  cpuMillis: number;
  memoryBytes: number;
}

const tenants = fc
  .array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 8 })
  .map((weights) => weights.map((weight, i): TenantStanding => ({ tenantId: `t${i}`, weight, held: nothing })));

describe('fair order', () => {
  it("loses no run, repeats none, and keeps each tenant's own order", () => {
    const run = fc.record({ tenant: fc.nat(9), cpuMillis: fc.nat(500), memoryBytes: fc.nat(500) });
    fc.assert(
      fc.property(tenants, fc.array(run, { maxLength: 60 }), (standings, list) => {
        const runs = list.map(({ tenant, ...size }, id): Sized => ({ id, tenantId: `t${tenant}`, ...size }));
        const ordered = fairOrder(capacity, standings, new Map(), runs, 1000);
        expect([...ordered].sort((a, b) => a.id - b.id)).toEqual(runs);
        for (const { tenantId } of standings) {
          const own = ordered.filter((one) => one.tenantId === tenantId).map(({ id }) => id);
          expect(own).toEqual([...own].sort((a, b) => a - b));
        }
        expect(fairOrder(capacity, standings, new Map(), runs, 5)).toEqual(ordered.slice(0, 5));
      }),
    );
  });

  it('gives every backlogged tenant its weighted share at any point, but for one run of each', () => {
    const sizes = fc.array(fc.record({ cpuMillis: fc.integer({ min: 1, max: 900 }), memoryBytes: fc.integer({ min: 1, max: 900 }) }), {
      minLength: 8,
      maxLength: 8,
    });
    fc.assert(
      fc.property(tenants, sizes, fc.integer({ min: 1, max: 200 }), (standings, size, limit) => {
        const runs = standings.flatMap(({ tenantId }, t) =>
          Array.from({ length: limit }, (_, id): Sized => ({ id, tenantId, ...(size[t] ?? { cpuMillis: 1, memoryBytes: 1 }) })),
        );
        const ordered = fairOrder(capacity, standings, new Map(), runs, limit);
        const level = standings.map(({ tenantId, weight }, t) => {
          const one = dominantShare(size[t] ?? nothing, capacity) / weight;
          return { level: ordered.filter((run) => run.tenantId === tenantId).length * one, one };
        });
        // Nobody is ahead of anybody by more than the run that took it there.
        const least = Math.min(...level.map((tenant) => tenant.level));
        for (const tenant of level) expect(tenant.level - tenant.one).toBeLessThanOrEqual(least + 1e-9);
      }),
    );
  });

  it('puts who holds most, or held most lately, last', () => {
    const runs = ['a', 'b'].map((tenantId, id): Sized => ({ id, tenantId, cpuMillis: 1, memoryBytes: 1 }));
    const standing = (tenantId: string, cpuMillis: number) => ({ tenantId, weight: 1, held: { cpuMillis, memoryBytes: 0 } });
    const first = (a: number, b: number, decayed: [string, number][] = []) =>
      fairOrder(capacity, [standing('a', a), standing('b', b)], new Map(decayed), runs, 1)[0]?.tenantId;
    expect([first(5, 4), first(4, 5), first(4, 4), first(0, 0, [['a', 0.1]])]).toEqual(['b', 'a', 'a', 'b']);
  });
});

/** A fleet of `slots` on which runs of tenants take `lengths` ticks: who asks gets, in fair order, what is free. */
function simulate(weights: readonly number[], lengths: readonly number[], slots: number, ticks: number, flooderAlone: number): number[] {
  const held = weights.map(() => [] as number[]);
  const decayed = new Map<string, number>();
  const received = weights.map(() => 0);
  const fleet = { cpuMillis: slots, memoryBytes: slots };
  for (let tick = 0; tick < ticks; tick++) {
    for (const ends of held) ends.splice(0, ends.length, ...ends.filter((end) => end > tick));
    const standings = weights.map((weight, t) => ({
      tenantId: String(t),
      weight,
      held: { cpuMillis: held[t]?.length ?? 0, memoryBytes: 0 },
    }));
    // The first floods from the start, the others come later and then always have work.
    const asking = tick < flooderAlone ? standings.slice(0, 1) : standings;
    const runs = asking.flatMap(({ tenantId }) => Array.from({ length: slots }, () => ({ tenantId, cpuMillis: 1, memoryBytes: 1 })));
    const free = slots - held.reduce((sum, ends) => sum + ends.length, 0);
    for (const { tenantId } of fairOrder(fleet, standings, decayed, runs, free)) {
      const t = Number(tenantId);
      held[t]?.push(tick + (lengths[t] ?? 1));
    }
    for (const [t, ends] of held.entries()) {
      // As it stood until the next tick: runs that end before anyone looks again have taken their share all the same.
      decayed.set(String(t), decayShare(decayed.get(String(t)) ?? 0, ends.length / slots, 1, 8));
      if (tick >= flooderAlone) received[t] = (received[t] ?? 0) + ends.length;
    }
  }
  return received.map((sum) => sum / (slots * (ticks - flooderAlone)));
}

// A tick is 0.6 s here: a hundred are a minute, and eight the half-life.
describe('over a minute', () => {
  it('every tenant beside one that floods gets at least 90 % of its weighted share, however long its own runs take', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 5 }),
        // Nobody's containers are stopped for another: what the flooder's hold when the others come, it holds until they end.
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 4, maxLength: 4 }),
        (weights, flooder, lengths) => {
          const received = simulate(weights, [flooder, ...lengths], 200, 300, 200);
          const owed = owedShares(weights.map((weight, t) => ({ tenantId: String(t), weight })));
          weights.forEach((_, t) => {
            if (t > 0) expect(received[t]).toBeGreaterThanOrEqual(0.9 * (owed.get(String(t)) ?? 0));
          });
        },
      ),
      { numRuns: 25 },
    );
  });

  it('a share decays by half in its half-life, in one step or in many', () => {
    expect(decayShare(1, 0, 5000)).toBeCloseTo(0.5);
    expect(decayShare(decayShare(1, 0, 1000), 0, 4000)).toBeCloseTo(0.5);
    expect(decayShare(0.3, 0.3, 12_345)).toBeCloseTo(0.3);
    expect(dominantShare({ cpuMillis: 1, memoryBytes: 1 }, nothing)).toBe(0);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultSpec } from '../testing/default-spec.js';
import { RecentRoots, type RootPlan, rootKey } from './recent-roots.js';

const plan = (tenant: string, image = 'i'): RootPlan => ({
  tenant,
  image,
  layers: [],
  network: 'none',
  readOnlyRootfs: false,
  init: false,
  cwd: '/',
  limits: { cpuMillis: 1, memoryBytes: 1, pids: 1, shmBytes: 1 },
});

describe('the roots that are wanted', () => {
  it('are of one tenant and one image each', () => {
    const keys = [rootKey('a', 'x', defaultSpec), rootKey('b', 'x', defaultSpec), rootKey('a', 'y', defaultSpec)];
    expect(new Set(keys).size).toBe(3);
    expect(rootKey('a', 'x', { ...defaultSpec, env: { A: 'b' }, hostname: 'other', command: ['x'] })).toBe(keys[0]);
    expect(rootKey('a', 'x', { ...defaultSpec, readOnlyRootfs: !defaultSpec.readOnlyRootfs })).not.toBe(keys[0]);
    expect(rootKey('a', 'x', { ...defaultSpec, resources: { ...defaultSpec.resources, diskBytes: 1 } })).toBeNull();
    expect(rootKey('a', 'x', { ...defaultSpec, runtimeClass: 'runc' })).toBeNull();
  });

  it('are all of what ran, when one thing ran', () => {
    const roots = new RecentRoots(4, 1000);
    roots.used('k', plan('a'), 0);
    expect([...roots.wanted(999)]).toEqual([['k', 4]]);
    expect([...roots.wanted(1000)]).toEqual([]);
  });

  it('leave each tenant its turn, however many images another runs', () => {
    const roots = new RecentRoots(3, 1000);
    roots.used('mine', plan('b'), 0);
    for (let index = 0; index < 50; index++) roots.used(`k${index}`, plan('a', `${index}`), 1 + index);
    expect([...roots.wanted(60)]).toEqual([
      ['k49', 1],
      ['mine', 1],
      ['k48', 1],
    ]);
  });

  it('are never more than there is room for, and never old', () => {
    const use = fc.record({
      tenant: fc.integer({ min: 0, max: 4 }),
      image: fc.integer({ min: 0, max: 4 }),
      afterMs: fc.integer({ min: 0, max: 50 }),
    });
    fc.assert(
      fc.property(fc.array(use), fc.integer({ min: 0, max: 6 }), (uses, size) => {
        const roots = new RecentRoots(size, 100);
        const lastMs = new Map<string, number>();
        let nowMs = 0;
        for (const { tenant, image, afterMs } of uses) {
          nowMs += afterMs;
          roots.used(`${tenant}/${image}`, plan(`${tenant}`, `${image}`), nowMs);
          lastMs.set(`${tenant}/${image}`, nowMs);
          const wanted = roots.wanted(nowMs);
          // What just ran is always among them.
          expect([...wanted.values()].reduce((sum, count) => sum + count, 0)).toBe(size);
          for (const key of wanted.keys()) expect(nowMs - (lastMs.get(key) ?? 0)).toBeLessThan(100);
        }
      }),
    );
  });
});

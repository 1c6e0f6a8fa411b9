import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ExplanationView, estimateStart, explainRun } from './explain-run.js';
import { amountOf, noAmount, type QuotaAmount } from './quota.js';

const now = new Date('2026-01-01T00:00:00Z');
const inMs = (ms: number) => new Date(now.getTime() + ms);
const one: QuotaAmount = { ...noAmount, concurrentRuns: 1, cpuMillis: 100, memoryBytes: 100 };
const limit = amountOf((dimension) => (dimension === 'concurrentRuns' ? 2 : 1000));
const holder = (startedMsAgo: number | null, timeoutMs = 60_000) => ({
  amount: one,
  startedAt: startedMsAgo === null ? null : inMs(-startedMsAgo),
  timeoutMs,
});
const waiting: ExplanationView = {
  state: 'queued',
  reserved: false,
  amount: one,
  needs: [],
  limit,
  used: { ...one, concurrentRuns: 2 },
  ahead: [],
  lineLength: 1,
  holders: [holder(4000), holder(1000)],
  typicalMs: 10_000,
  fleet: { nodes: [] },
};
const node = {
  id: 'node_1',
  state: 'ready' as const,
  cpuMillis: 1000,
  memoryBytes: 1000,
  reserved: { cpuMillis: 0, memoryBytes: 0, runs: 0 },
  features: [],
};

describe('a run that waits for quota', () => {
  it('is told the dimension, its place, what helps, and when', () => {
    const explained = explainRun({ ...waiting, ahead: [one], lineLength: 3 }, now);
    expect(explained).toMatchObject({
      waitingFor: 'quota',
      reason: 'waits for quota: concurrentRuns: 1 requested, 3 of 2 used',
      line: { place: 2, length: 3 },
      shortages: [{ dimension: 'concurrentRuns', limit: 2, used: 3, requested: 1 }],
      remedies: ['runs of yours that hold concurrentRuns end', 'the 1 of yours before it in the line are admitted or canceled'],
    });
    // The first to end makes room for the one before it, the second for this one.
    expect(explained.estimatedStartAt).toEqual(inMs(9000));
  });

  it('is told when it can never be admitted, by which dimension', () => {
    const explained = explainRun({ ...waiting, amount: { ...one, cpuMillis: 2000 } }, now);
    expect(explained.reason).toBe('it can never be admitted: cpuMillis: 2000 requested, 0 of 1000 used');
    expect(explained.remedies).toEqual(['it is submitted again with at most 1000 cpuMillis, or that quota is raised']);
    expect(explained.estimatedStartAt).toBeNull();
  });

  it('is given no start that only a deletion, a new month or a guess would bring', () => {
    const used = { ...waiting.used, logBytes: 1000 };
    const logs = explainRun({ ...waiting, used, amount: { ...one, logBytes: 1 } }, now);
    expect(logs.remedies).toContain('runs of yours that have ended are deleted with their logs');
    expect(logs.estimatedStartAt).toBeNull();
    const budget = explainRun({ ...waiting, used: { ...used, monthlyCpuMs: 1000 }, amount: { ...one, monthlyCpuMs: 1 } }, now);
    expect(budget.remedies.join()).toContain('the next month (UTC) begins, with a new budget of monthlyCpuMs');
    expect(explainRun({ ...waiting, typicalMs: null }, now).estimatedStartAt).toBeNull();
  });

  it('waits no longer for a run than that may take, and not at all for one that is overdue', () => {
    expect(estimateStart({ ...waiting, holders: [holder(0, 3000), holder(0)] }, now)).toEqual(inMs(3000));
    expect(estimateStart({ ...waiting, holders: [holder(50_000), holder(0)] }, now)).toEqual(now);
    expect(estimateStart({ ...waiting, holders: [holder(null), holder(null)] }, now)).toEqual(inMs(10_000));
  });

  it('never starts later for a shorter line or a larger quota', () => {
    const amounts = fc.record({ cpuMillis: fc.integer({ min: 1, max: 400 }) }).map((some) => ({ ...one, ...some }));
    fc.assert(
      fc.property(
        fc.array(amounts, { maxLength: 8 }),
        fc.array(fc.integer({ min: 0, max: 9000 }), { minLength: 2, maxLength: 2 }),
        (ahead, ages) => {
          const view = { ...waiting, ahead, holders: ages.map((age) => holder(age)) };
          const at = estimateStart(view, now);
          const sooner = [
            estimateStart({ ...view, ahead: ahead.slice(0, -1) }, now),
            estimateStart({ ...view, limit: { ...limit, concurrentRuns: 1000, cpuMillis: 1_000_000, memoryBytes: 1_000_000 } }, now),
          ];
          for (const other of sooner) expect(other?.getTime()).toBeLessThanOrEqual(at?.getTime() ?? Number.NaN);
        },
      ),
    );
  });
});

describe('a run that awaits a node', () => {
  const awaiting = { ...waiting, reserved: true };
  it('is told how many nodes refuse it for what', () => {
    const full = { ...node, reserved: { ...node.reserved, cpuMillis: 950 } };
    const fleet = {
      nodes: [full, { ...full, id: 'node_2' }, { ...node, id: 'node_3', cpuMillis: 50 }, { ...node, id: 'node_4', state: 'lost' as const }],
    };
    const explained = explainRun({ ...awaiting, fleet }, now);
    expect(explained.reason).toBe('no node has room for it: 1 not ready, 1 with too little cpu even when empty, 2 short of free cpu');
    expect(explained.remedies).toEqual([
      'runs on the nodes that are merely full end',
      'a node with room for it joins',
      'a node that is not ready comes back',
    ]);
    expect(explained.nodes?.fitting).toBe(0);
  });

  it('is told that none can take it, that there is none, or that it is next', () => {
    const small = explainRun({ ...awaiting, fleet: { nodes: [{ ...node, memoryBytes: 10 }] } }, now);
    expect(small.remedies).toContain('it is submitted again with less cpu, memory or disk');
    expect(explainRun(awaiting, now)).toMatchObject({ reason: 'there is no node', remedies: ['a node joins'] });
    expect(explainRun({ ...awaiting, fleet: { nodes: [node] } }, now)).toMatchObject({ nodes: { fitting: 1 }, estimatedStartAt: now });
  });
});

it('a run that waits for nothing is told where it is', () => {
  expect(explainRun({ ...waiting, state: 'running' }, now)).toMatchObject({ waitingFor: null, reason: 'it runs', line: null });
  expect(explainRun({ ...waiting, state: 'failed' }, now).reason).toBe('it has ended: failed');
});

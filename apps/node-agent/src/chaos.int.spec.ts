import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { faultOf, strike } from './testing/chaos.js';
import { missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
/** `npm run chaos` goes on from here. */
const seeds = 16;

describe.skipIf(missing !== null)(`runs under seeded faults${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
    await node.startAgent();
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  it('are of every kind within few seeds', () => {
    const kinds = new Set(
      Array.from({ length: 200 }, (_, seed) => faultOf(seed)).map(({ victim, signal, moment }) => `${victim} ${signal} ${moment}`),
    );
    expect(kinds.size).toBe(24);
    expect(faultOf(7)).toEqual(faultOf(7));
  });

  it.each(Array.from({ length: seeds }, (_, index) => faultOf(index + 1)))(
    'hold through seed $seed: $signal of the $victim once $moment',
    async (fault) => {
      await strike(node, fault);
    },
    60_000,
  );
});

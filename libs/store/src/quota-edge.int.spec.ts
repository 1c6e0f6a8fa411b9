import { limitDimensions } from '@berth/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from './open-store.js';
import type { Store } from './ports.js';
import { edgeRound } from './quota-edge.js';
import { StoreFixture } from './testing.js';
import { installWatchers } from './watchers.js';

/* The bounded form of `npm run edge`. */

let fixture: StoreFixture;
let second: Store;
beforeAll(async () => {
  fixture = await StoreFixture.open();
  second = openStore({ url: fixture.url, poolSize: 10 });
  await installWatchers(fixture);
});
afterAll(async () => {
  await second.close();
  await fixture.close();
});

describe('at the edge of', () => {
  it.each(limitDimensions)(
    '%s, submissions through two replicas never exceed it and none is lost',
    { timeout: 60_000 },
    async (dimension) => {
      const { faults, reserved, waiting, refused } = await edgeRound(fixture, [fixture.store, second], dimension, 60);
      expect(faults).toEqual([]);
      expect(reserved + waiting).toBeGreaterThanOrEqual(25);
      expect(waiting + refused).toBeGreaterThanOrEqual(20);
    },
  );
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IdSlots } from './id-slots.js';

describe('the slots of ids', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'berth-ids-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('are never shared, by the containers of one agent or of several', async () => {
    const agents = await Promise.all(['one', 'two', 'three'].map((owner) => IdSlots.open(folder, owner)));
    const slots = await Promise.all(Array.from({ length: 60 }, (_, index) => agents[index % 3]?.claim(`container ${index}`)));
    expect(new Set(slots).size).toBe(60);
  });

  it('come back when they are released by who holds them, and not at once', async () => {
    const slots = await IdSlots.open(folder, 'one');
    const first = await slots.claim('a');
    await slots.release(first, 'somebody else');
    expect([...(await slots.held()).values()]).toEqual(['a']);
    await slots.release(first, 'a');
    expect((await slots.held()).size).toBe(0);
    expect(await slots.claim('b')).not.toBe(first);
  });

  it('are found again by a restarted agent, and taken from no other', async () => {
    const before = await IdSlots.open(folder, 'one');
    const slot = await before.claim('a');
    const after = await IdSlots.open(folder, 'one');
    expect(await after.reclaim(slot, 'a')).toBe(true);
    expect(await after.reclaim(slot, 'b')).toBe(false);
    expect(await (await IdSlots.open(folder, 'two')).reclaim(slot, 'a')).toBe(false);
    expect([...(await after.held())]).toEqual([[slot, 'a']]);
  });
});

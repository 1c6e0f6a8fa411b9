import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StopPage } from './stop-page.js';

describe('the page of T_stop', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-lease-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('holds no lease at first, and eight bytes', async () => {
    const page = await StopPage.open(directory, 'boot');
    expect(await readFile(page.path)).toEqual(Buffer.alloc(8));
    expect(page.isValid(0n)).toBe(false);
    page.close();
  });

  it('ends T_stop after the heartbeat was sent, not after it was answered', async () => {
    const page = await StopPage.open(directory, 'boot');
    page.renew(5_000_000_000n, 45_000);
    expect((await readFile(page.path)).readBigUInt64LE()).toBe(50_000_000_000n);
    expect([page.isValid(49_999_999_999n), page.isValid(50_000_000_000n)]).toEqual([true, false]);
    page.close();
  });

  it('is not set back by an answer that was overtaken, but by a shorter T_stop', async () => {
    const page = await StopPage.open(directory, 'boot');
    page.renew(10_000_000_000n, 10_000);
    page.renew(9_000_000_000n, 60_000);
    expect(page.stopAtNs).toBe(20_000_000_000n);
    page.renew(11_000_000_000n, 1_000);
    expect(page.stopAtNs).toBe(12_000_000_000n);
    page.close();
  });

  it('survives the agent, and not the boot', async () => {
    const page = await StopPage.open(directory, 'boot');
    page.renew(10_000_000_000n, 10_000);
    page.close();
    const again = await StopPage.open(directory, 'boot');
    expect(again.stopAtNs).toBe(20_000_000_000n);
    again.close();
    const rebooted = await StopPage.open(directory, 'another boot');
    expect(rebooted.stopAtNs).toBe(0n);
    rebooted.close();
  });
});

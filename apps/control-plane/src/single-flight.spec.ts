import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Alarm } from './reporting/alarm.js';
import { SingleFlight } from './single-flight.js';

describe('a single flight', () => {
  it('answers each who asks with a pass that began afterwards, one at a time', async () => {
    let passes = 0;
    let running = 0;
    const flight = new SingleFlight(async () => {
      expect(++running).toBe(1);
      passes++;
      await sleep(10);
      running--;
    });
    const first = flight.run();
    const later = Promise.all([flight.run(), flight.run(), flight.run()]);
    await first;
    expect(passes).toBeLessThanOrEqual(2);
    await later;
    expect(passes).toBe(2);
    await flight.run();
    expect(passes).toBe(3);
  });

  it('runs as many as told, and shares what begins after them', async () => {
    let begun = 0;
    let running = 0;
    let most = 0;
    const flight = new SingleFlight(async () => {
      const pass = ++begun;
      most = Math.max(most, ++running);
      await sleep(10);
      running--;
      return pass;
    }, 2);
    expect(await Promise.all(Array.from({ length: 6 }, () => flight.run()))).toEqual([1, 2, 3, 3, 3, 3]);
    expect(most).toBe(2);
    await flight.settled();
    expect(flight.isIdle).toBe(true);
  });

  it('goes on after a pass that failed', async () => {
    let fail = true;
    const flight = new SingleFlight(async () => {
      await sleep(1);
      if (fail) throw new Error('down');
    });
    const [first, second] = await Promise.allSettled([flight.run(), flight.run()]);
    expect([first.status, second.status]).toEqual(['rejected', 'rejected']);
    fail = false;
    await flight.run();
    await flight.settled();
  });
});

describe('an alarm', () => {
  const never = new AbortController().signal;

  it('keeps a ring for a sleeper who comes late', async () => {
    const alarm = new Alarm();
    alarm.ring();
    const before = performance.now();
    await alarm.sleep(5000, never);
    expect(performance.now() - before).toBeLessThan(1000);
  });

  it('wakes by a ring, by time and by an abort', async () => {
    const alarm = new Alarm();
    setTimeout(alarm.ring, 5);
    await alarm.sleep(5000, never);
    await alarm.sleep(5, never);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 5);
    await alarm.sleep(5000, controller.signal);
  });
});

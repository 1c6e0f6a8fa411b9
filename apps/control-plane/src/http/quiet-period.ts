import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** A server that never gets quiet is not waited for longer than so many periods. */
const periodsMax = 10;

/** Resolves when no connection and no request has come for `quietMs`, so that closing the door hits nobody on the threshold. */
export async function quietPeriod(server: Server, quietMs: number): Promise<void> {
  let arrivals = 0;
  const arrived = () => {
    arrivals++;
  };
  server.on('connection', arrived).on('request', arrived);
  for (let period = 0, before = -1; period < periodsMax && arrivals !== before; period++) {
    before = arrivals;
    await sleep(quietMs);
    // Past the timer, on a busy machine, arrivals may still wait to be taken.
    await new Promise((resolve) => setImmediate(resolve));
  }
  server.off('connection', arrived).off('request', arrived);
}

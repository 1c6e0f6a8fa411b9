import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ample, type ExitRecord, isAlive, outputOf, type Shim, ShimBench, until } from './shim-fixture.js';

let bench: ShimBench;
beforeAll(async () => {
  bench = await ShimBench.open();
});
afterAll(() => bench.close());

const stubborn = 'trap "echo ignored" TERM; echo ready; while true; do sleep 0.05; done';
const polite = 'trap "echo bye; exit 12" TERM; echo ready; while true; do sleep 0.05; done';

const lifetimeMs = (r: ExitRecord): number => Date.parse(r.finishedAt) - Date.parse(r.startedAt);
const ready = (shim: Shim): Promise<void> =>
  until(async () =>
    outputOf(await shim.log(), 'stdout')
      .toString()
      .startsWith('ready\n'),
  );
const bootMs = (): number => Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000;

/** A lease page as the agent keeps it. `null` stands for "no lease yet". */
class Lease {
  readonly path = join(bench.home, `lease-${Math.random()}`);
  private readonly fd = openSync(this.path, 'w');

  until(bootTimeMs: number | null): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(bootTimeMs === null ? 0n : BigInt(Math.round(bootTimeMs * 1e6)));
    writeSync(this.fd, bytes, 0, 8, 0);
    return this;
  }

  close(): void {
    closeSync(this.fd);
  }
}

describe('stop', () => {
  it('lets a container that handles SIGTERM end by itself', async () => {
    const shim = await bench.start({ command: polite });
    await ready(shim);
    expect(await shim.ask({ op: 'stop', graceMs: 60000 })).toEqual([{}]);
    expect(await shim.ended()).toMatchObject({ exitCode: 12, signal: null, stoppedBy: 'request' });
    expect(outputOf(await shim.log(), 'stdout').toString()).toBe('ready\nbye\n');
  });

  it('kills one that does not, after the grace and not before', async () => {
    const shim = await bench.start({ command: stubborn });
    await ready(shim);
    const asked = Date.now();
    await shim.ask({ op: 'stop', graceMs: 400 });
    const record = await shim.ended();
    expect(record).toMatchObject({ exitCode: null, signal: 9, stoppedBy: 'request' });
    expect(Date.parse(record.finishedAt) - asked).toBeGreaterThanOrEqual(395);
    expect(outputOf(await shim.log(), 'stdout').toString()).toContain('ignored');
  });

  it('sends the signal that --stop-signal names', async () => {
    const shim = await bench.start({
      command: 'trap "exit 10" USR1; echo ready; while true; do sleep 0.05; done',
      flags: ['--stop-signal', '10'],
    });
    await ready(shim);
    await shim.ask({ op: 'stop', graceMs: 60000 });
    expect((await shim.ended()).exitCode).toBe(10);
  });

  it('can be hurried by a second one with less grace, but not slowed', async () => {
    const shim = await bench.start({ command: stubborn });
    await ready(shim);
    await shim.ask({ op: 'stop', graceMs: 3_600_000 }, { op: 'stop', graceMs: 100 }, { op: 'stop', graceMs: 3_600_000 });
    expect((await shim.ended()).signal).toBe(9);
  });

  it('kills every process of the container, not the first alone', async () => {
    const shim = await bench.start({ command: 'sleep 1000 & sleep 1000 & trap "" TERM; echo ready; while true; do sleep 0.05; done' });
    await ready(shim);
    const children = readFileSync(`/proc/${shim.pid}/task/${shim.pid}/children`, 'latin1').trim().split(' ').map(Number);
    expect(children.length).toBeGreaterThanOrEqual(2);
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
    expect((await Promise.all(children.map(isAlive))).includes(true)).toBe(false);
  });

  it('kills the rest of a container whose processes share the host’s PIDs', async () => {
    const shim = await bench.start({ command: 'setsid sleep 1000 & echo ready; echo $!; wait', hostPids: true });
    await until(
      async () =>
        outputOf(await shim.log(), 'stdout')
          .toString()
          .split('\n').length > 2,
    );
    const other = Number(
      outputOf(await shim.log(), 'stdout')
        .toString()
        .split('\n')[1],
    );
    expect(await isAlive(other)).toBe(true);
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
    expect(await isAlive(other)).toBe(false);
  });
});

describe('timeout', () => {
  const timeoutMs = ample(500);

  it('stops a container that handles SIGTERM', async () => {
    const { record } = await bench.runToEnd({ command: polite, flags: ['--timeout-ms', `${timeoutMs}`] });
    expect(record).toMatchObject({ exitCode: 12, stoppedBy: 'timeout' });
    expect(lifetimeMs(record)).toBeGreaterThanOrEqual(timeoutMs - 5);
  });

  it('kills one that ignores SIGTERM, once the grace is over', async () => {
    const { record, log } = await bench.runToEnd({ command: stubborn, flags: ['--timeout-ms', `${timeoutMs}`, '--stop-grace-ms', '300'] });
    expect(record).toMatchObject({ signal: 9, stoppedBy: 'timeout' });
    expect(lifetimeMs(record)).toBeGreaterThanOrEqual(timeoutMs + 295);
    expect(outputOf(log, 'stdout').toString()).toContain('ignored');
  });

  it('leaves a container alone that ends in time', async () => {
    const { record } = await bench.runToEnd({ command: 'exit 0', flags: ['--timeout-ms', '60000'] });
    expect(record).toMatchObject({ exitCode: 0, stoppedBy: null });
  });
});

describe('lease', () => {
  it('stops the container when it runs out, with no help from anyone', async () => {
    const lease = new Lease().until(bootMs() + ample(1500));
    const { record } = await bench.runToEnd({ command: polite, flags: ['--lease', lease.path] });
    lease.close();
    expect(record).toMatchObject({ exitCode: 12, stoppedBy: 'lease' });
  });

  it('kills a container that does not go, after the grace', async () => {
    const lease = new Lease().until(bootMs() + ample(1000));
    const { record } = await bench.runToEnd({ command: stubborn, flags: ['--lease', lease.path, '--stop-grace-ms', '200'] });
    lease.close();
    expect(record).toMatchObject({ signal: 9, stoppedBy: 'lease' });
  });

  it('leaves the container alone while it is extended', async () => {
    const lease = new Lease().until(bootMs() + ample(1500));
    const shim = await bench.start({ command: polite, flags: ['--lease', lease.path] });
    for (let i = 0; i < 15; i++) {
      lease.until(bootMs() + ample(1500));
      await sleep(ample(1500) / 8);
    }
    expect(await shim.ask({ op: 'status' })).toEqual([{ state: 'running', pid: shim.pid }]);
    await shim.ask({ op: 'stop', graceMs: 0 });
    expect((await shim.ended()).stoppedBy).toBe('request');
    lease.close();
  });

  it('that runs out during a long stop costs no processor time', async () => {
    const lease = new Lease().until(bootMs() + 3_600_000);
    const shim = await bench.start({ command: stubborn, flags: ['--lease', lease.path, '--stop-grace-ms', '3600000'] });
    await shim.ask({ op: 'stop', graceMs: 3_600_000 });
    lease.until(1);
    await sleep(2500);
    const stat = (await readFile(`/proc/${await shim.shimPid()}/stat`, 'latin1')).split(') ')[1]?.split(' ') ?? [];
    expect(Number(stat[11]) + Number(stat[12])).toBeLessThan(30);
    await shim.ask({ op: 'stop', graceMs: 0 });
    expect((await shim.ended()).stoppedBy).toBe('request');
    lease.close();
  });

  it('of zero means none yet, and one that comes later counts', async () => {
    const lease = new Lease().until(null);
    const shim = await bench.start({ command: polite, flags: ['--lease', lease.path] });
    await ready(shim);
    expect(await shim.ask({ op: 'status' })).toEqual([{ state: 'running', pid: shim.pid }]);
    lease.until(1);
    expect((await shim.ended()).stoppedBy).toBe('lease');
    lease.close();
  });

  it('that ran out before the start keeps the container from starting', async () => {
    const lease = new Lease().until(1);
    const shim = await bench.attempt({ command: 'echo never', flags: ['--lease', lease.path] });
    expect(shim.answer).toEqual({ error: expect.stringContaining('lease') });
    lease.close();
  });

  it('that cannot be read is a refusal', async () => {
    const shim = await bench.attempt({ command: 'true', flags: ['--lease', join(bench.home, 'no-lease')] });
    expect(shim.answer).toEqual({ error: expect.stringContaining('no-lease') });
  });
});

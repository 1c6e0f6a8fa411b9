import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cgroupsOf, isAlive, outputOf, type Shim, ShimBench, until } from './shim-fixture.js';

let bench: ShimBench;
beforeAll(async () => {
  bench = await ShimBench.open();
});
afterAll(() => bench.close());

const claim = { op: 'claim', timeoutMs: 0, stopGraceMs: 100, stopSignal: 15, logMaxBytes: 1 << 20, leased: false };

/** The connection that holds a parked container. */
class Holder {
  readonly #lines: AsyncIterator<string>;

  private constructor(readonly socket: Socket) {
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async of(shim: Shim): Promise<Holder> {
    const socket = connect(join(shim.dir, 'shim.sock'));
    socket.on('error', () => {});
    await once(socket, 'connect');
    const holder = new Holder(socket);
    expect(await holder.ask({ op: 'hold' })).toEqual({});
    return holder;
  }

  async ask(request: object): Promise<Record<string, unknown>> {
    this.socket.write(`${JSON.stringify(request)}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value ?? '{"error":"the shim hung up"}');
  }
}

describe.each(['root', 'bare'])('a shim with a container parked %s', (way) => {
  async function park(): Promise<{ shim: Shim; pid: number }> {
    const shim = await bench.attempt({ command: 'exit 99', mapRootTo: 300_000, flags: ['--park', way] });
    const { parked } = shim.answer as unknown as { parked: number };
    expect(parked).toBeGreaterThan(1);
    return { shim, pid: parked };
  }

  /** Makes the bundle one of this command. */
  async function wants(shim: Shim, command: string): Promise<void> {
    const path = join(shim.home, 'config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...config, process: { ...config.process, args: ['/bin/sh', '-c', command] } }));
  }

  async function isGone(shim: Shim, pid: number): Promise<void> {
    await until(
      async () => !(await isAlive(pid)) && readdirSync(shim.dir).every((name) => ['log', 'exit.json', 'shim.json'].includes(name)),
    );
    await until(async () => (await cgroupsOf(shim.id)).length === 0 && !existsSync(join(bench.runtimeRoot, shim.id)));
  }

  it('runs what it is claimed for, and lives its life from there on', async () => {
    const { shim, pid } = await park();
    await wants(shim, 'echo claimed; exit 7');
    const holder = await Holder.of(shim);
    expect(await holder.ask({ op: 'status' })).toEqual({ state: 'parked', pid });
    expect(await holder.ask(claim)).toEqual({ pid, startedAt: expect.stringMatching(/Z$/) });
    const record = await shim.ended();
    expect(record).toMatchObject({ exitCode: 7, signal: null, stoppedBy: null });
    expect(outputOf(await shim.log(), 'stdout').toString()).toBe('claimed\n');
    await isGone(shim, pid);
  });

  it('keeps the deadlines of the claim', async () => {
    const { shim } = await park();
    await wants(shim, 'exec sleep 60');
    const holder = await Holder.of(shim);
    await holder.ask({ ...claim, timeoutMs: 300, stopGraceMs: 0 });
    expect(await shim.ended()).toMatchObject({ signal: 9, stoppedBy: 'timeout' });
  });

  it('goes with who holds it, and leaves nothing', async () => {
    const { shim, pid } = await park();
    const shimPid = await shim.shimPid();
    const holder = await Holder.of(shim);
    expect(await shim.ask({ op: 'hold' }, claim, { op: 'stop' })).toEqual(Array(3).fill({ error: expect.any(String) }));
    expect(await isAlive(pid)).toBe(true);
    holder.socket.destroy();
    await isGone(shim, pid);
    await until(async () => !(await isAlive(shimPid)));
  });

  it('takes its container along when it is killed', async () => {
    const { shim, pid } = await park();
    process.kill(await shim.shimPid(), 'SIGKILL');
    await until(async () => !(await isAlive(pid)));
    await until(async () => (await cgroupsOf(shim.id)).length === 0);
  });

  it('tells why a claim cannot run, and leaves nothing', async () => {
    const { shim, pid } = await park();
    const path = join(shim.home, 'config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...config, process: { ...config.process, args: ['/missing'] } }));
    const holder = await Holder.of(shim);
    expect(await holder.ask(claim)).toEqual({ error: expect.stringContaining('/missing') });
    await isGone(shim, pid);
  });

  it.each([
    [{ ...claim, stopSignal: 0 }, 'stopSignal'],
    [{ ...claim, leased: true }, 'leased'],
    [{ ...claim, timeoutMs: -1 }, 'timeoutMs'],
  ])('refuses the claim %j and waits on', async (request, field) => {
    const { shim, pid } = await park();
    const holder = await Holder.of(shim);
    expect(await holder.ask(request)).toEqual({ error: expect.stringContaining(field) });
    expect(await holder.ask({ op: 'status' })).toEqual({ state: 'parked', pid });
    holder.socket.destroy();
    await isGone(shim, pid);
  });
});

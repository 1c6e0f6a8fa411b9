import { existsSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cgroupsOf, outputOf, ShimBench, until } from './shim-fixture.js';

let bench: ShimBench;
beforeAll(async () => {
  bench = await ShimBench.open();
});
afterAll(() => bench.close());

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path, () => resolve(socket));
    socket.on('error', reject);
  });
}

describe('the socket', () => {
  it('answers status, signal and stop in the order asked', async () => {
    const shim = await bench.start({ command: 'trap "echo usr" USR1; trap "exit 7" TERM; echo ready; while true; do sleep 0.05; done' });
    await until(async () => outputOf(await shim.log(), 'stdout').length > 0);
    expect(await shim.ask({ op: 'status' }, { op: 'signal', signal: 10 }, { op: 'status' })).toEqual([
      { state: 'running', pid: shim.pid },
      {},
      { state: 'running', pid: shim.pid },
    ]);
    await until(async () => outputOf(await shim.log(), 'stdout').toString() === 'ready\nusr\n');
    await shim.ask({ op: 'stop' });
    expect((await shim.ended()).exitCode).toBe(7);
  });

  it('tells everyone who waits, and only when exit.json is there', async () => {
    const shim = await bench.start({ command: 'sleep 1; exit 9' });
    const waits = await Promise.all(
      [1, 2, 3].map(async () => {
        const answer = await shim.ask({ op: 'wait' });
        return { answer, written: existsSync(join(shim.dir, 'exit.json')) };
      }),
    );
    const record = await shim.record();
    expect(waits).toEqual([1, 2, 3].map(() => ({ answer: [record], written: true })));
  });

  it('keeps everyone waiting while exit.json cannot be written', async () => {
    const shim = await bench.start({ command: 'sleep 0.2; exit 9' });
    const inTheWay = join(shim.dir, 'exit.json');
    await mkdir(inTheWay);
    let answered = false;
    const wait = shim.ask({ op: 'wait' }).finally(() => {
      answered = true;
    });
    await until(async () => isDeepStrictEqual(await shim.ask({ op: 'status' }), [{ state: 'exited', pid: shim.pid }]));
    await sleep(200);
    expect(answered).toBe(false);
    await rmdir(inTheWay);
    expect(await wait).toEqual([await shim.record()]);
  });

  it('closes a waiting connection when the cgroup is gone too', async () => {
    const shim = await bench.start({ command: 'sleep 0.5' });
    const socket = await open(join(shim.dir, 'shim.sock'));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    socket.write('{"op":"wait"}\n');
    await new Promise((resolve) => socket.on('close', resolve));
    expect(JSON.parse(text).exitCode).toBe(0);
    expect(await cgroupsOf(shim.id)).toEqual([]);
  });

  it.each([
    ['not json', /JSON/],
    ['{"op":"dance"}', /unknown op/],
    ['[]', /unknown op/],
    ['{"op":"signal"}', /signal wants/],
    ['{"op":"signal","signal":0}', /signal wants/],
    ['{"op":"signal","signal":"15"}', /signal wants/],
    ['{"op":"stop","graceMs":-1}', /graceMs/],
    [`{"op":"${'x'.repeat(500)}"}`, /too long/],
  ])('answers %j with an error, and goes on serving', async (line, message) => {
    const shim = await bench.start({ command: 'sleep 1000' });
    expect(await shim.askLines([line])).toEqual([{ error: expect.stringMatching(message) }]);
    expect(await shim.ask({ op: 'status' })).toEqual([{ state: 'running', pid: shim.pid }]);
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });

  it('takes requests in pieces, and many at once', async () => {
    const shim = await bench.start({ command: 'sleep 1000' });
    const socket = await open(join(shim.dir, 'shim.sock'));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    const status = '{"op":"status"}\n';
    for (const character of status) {
      socket.write(character);
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.write(status.repeat(20));
    await until(() => text.split('\n').length === 22);
    socket.destroy();
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });

  it('serves on when clients leave in the middle, come in crowds, or never read', async () => {
    const shim = await bench.start({ command: 'sleep 1000' });
    const path = join(shim.dir, 'shim.sock');
    for (let i = 0; i < 20; i++) {
      const socket = await open(path);
      socket.write('{"op":"st');
      socket.destroy();
    }
    const deaf = await open(path);
    deaf.on('error', () => {});
    const cutOff = new Promise((resolve) => deaf.on('close', resolve));
    deaf.pause();
    for (let i = 0; i < 200; i++) deaf.write('{"op":"status"}\n'.repeat(500));
    const crowd = await Promise.all(Array.from({ length: 30 }, () => shim.ask({ op: 'status' })));
    expect(crowd.every((answers) => answers.length === 1)).toBe(true);
    await cutOff;
    await shim.ask({ op: 'stop', graceMs: 0 });
    expect((await shim.ended()).stoppedBy).toBe('request');
  });
});

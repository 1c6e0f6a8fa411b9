import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { LeaseRow } from './ports.js';
import { exited, StoreFixture } from './testing.js';

let fixture: StoreFixture;
let nodeId: string;
let lease: LeaseRow;
beforeAll(async () => {
  fixture = await StoreFixture.open();
});
beforeEach(async () => {
  await fixture.clear();
  const tenant = await fixture.tenant();
  nodeId = (await fixture.node()).id;
  const run = await fixture.created(tenant, { maxAttempts: 2 });
  const placed = (await fixture.schedule()).get(run.id);
  if (placed === undefined) throw new Error('not placed');
  lease = placed.lease;
});
afterAll(() => fixture.close());

const append = (offset: number, text: string) => fixture.store.logs.append(nodeId, lease, offset, Buffer.from(text));
const read = async (offset: number, limit = 1000) => {
  const { bytes, ...rest } = await fixture.store.logs.read(lease.runId, lease.attempt, offset, limit);
  return { text: bytes.toString(), ...rest };
};

describe('log', () => {
  it('is what was appended, read from any offset and to any length', async () => {
    expect(await append(0, 'hello ')).toEqual({ nextOffset: 6, stale: false });
    expect(await append(6, 'wide ')).toEqual({ nextOffset: 11, stale: false });
    expect(await append(11, 'world')).toEqual({ nextOffset: 16, stale: false });
    const whole = 'hello wide world';
    for (let offset = 0; offset <= whole.length; offset++) {
      for (const limit of [1, 4, 7, 100]) {
        const text = whole.slice(offset, offset + limit);
        expect(await read(offset, limit)).toEqual({ text, nextOffset: offset + text.length, complete: false });
      }
    }
  });

  it('takes repeated and overlapping chunks once, and nothing beyond a gap', async () => {
    await append(0, 'abcdef');
    expect(await append(0, 'abcdef')).toEqual({ nextOffset: 6, stale: false });
    expect(await append(3, 'def')).toEqual({ nextOffset: 6, stale: false });
    expect(await append(3, 'defghi')).toEqual({ nextOffset: 9, stale: false });
    expect(await append(20, 'xyz')).toEqual({ nextOffset: 9, stale: false });
    expect(await append(9, '')).toEqual({ nextOffset: 9, stale: false });
    expect((await read(0)).text).toBe('abcdefghi');
  });

  it('stays whole when the same bytes are sent from several connections at once', async () => {
    const text = Array.from({ length: 50 }, (_, i) => `line ${i}\n`).join('');
    await Promise.all(
      [10, 13, 17, 25].map(async (size) => {
        for (let offset = 0; offset < text.length; )
          offset = Math.max((await append(offset, text.slice(offset, offset + size))).nextOffset, offset);
      }),
    );
    expect((await read(0, 10_000)).text).toBe(text);
  });

  it('refuses leases that are not of this node and attempt', async () => {
    for (const wrong of [
      { ...lease, epoch: 2 },
      { ...lease, attempt: 2 },
      { ...lease, runId: 'run_x' },
    ]) {
      expect(await fixture.store.logs.append(nodeId, wrong, 0, Buffer.from('x'))).toEqual({ nextOffset: 0, stale: true });
    }
    expect(await fixture.store.logs.append('node_x', lease, 0, Buffer.from('x'))).toEqual({ nextOffset: 0, stale: true });
    expect((await read(0)).text).toBe('');
  });

  it('is complete once the attempt ended and every byte of it is stored, even after the run went on', async () => {
    await append(0, 'abc');
    await fixture.report(nodeId, lease, exited({ exitCode: 1, logBytes: 6 }));
    expect((await read(0)).complete).toBe(false);
    expect((await fixture.schedule()).get(lease.runId)?.lease.attempt).toBe(2);
    await append(3, 'def');
    expect(await read(0)).toEqual({ text: 'abcdef', nextOffset: 6, complete: true });
    expect((await read(0, 6)).complete).toBe(false);
    expect(await read(6)).toEqual({ text: '', nextOffset: 6, complete: true });
  });

  it('takes no more of an attempt that was given up, and is then complete as far as it came', async () => {
    await append(0, 'abc');
    await fixture.store.nodes.setState(nodeId, 'dead');
    await fixture.store.runs.releaseLost(new Date(0), new Date());
    expect(await append(3, 'def')).toEqual({ nextOffset: 0, stale: true });
    expect(await read(0)).toEqual({ text: 'abc', nextOffset: 3, complete: true });
  });

  it('goes with its run', async () => {
    await append(0, 'abc');
    await fixture.report(nodeId, lease, {
      kind: 'failed',
      failure: { code: 'startFailed', message: 'no', blame: 'user' },
      retryable: false,
    });
    const [row] = await fixture.query<{ tenant_id: string }>('SELECT tenant_id FROM runs');
    expect(await fixture.store.runs.delete(row?.tenant_id ?? '', lease.runId, new Date())).toMatchObject({ outcome: 'deleted' });
    expect(await fixture.query('SELECT 1 FROM log_chunks')).toEqual([]);
    expect(await read(0)).toEqual({ text: '', nextOffset: 0, complete: false });
  });
});

import { eventually } from '@berth/testing';
import type { Run } from '@berth/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shortLease, TestService, type TestTenant } from '../support/service.js';

const MiB = 1 << 20;

describe('three agents of unequal size', () => {
  let test: TestService;
  let tenant: TestTenant;
  const ids = new Map<string, string>();
  const nodeOf = (run: Run) => ids.get(run.attempts.at(-1)?.nodeId ?? '');

  beforeAll(async () => {
    test = await TestService.start({
      env: shortLease,
      agents: [
        { name: 'small', cpuMillis: 500, memoryBytes: 128 * MiB },
        { name: 'large', cpuMillis: 2000, memoryBytes: 1024 * MiB },
        { name: 'doomed', cpuMillis: 4000, memoryBytes: 4096 * MiB },
      ],
    });
    tenant = await test.tenant('spread');
    for (const node of await test.nodes()) ids.set(node.id, node.name);
  });
  afterAll(() => test?.stop());

  it('spread runs over all that have room', async () => {
    const runs = await Promise.all(
      Array.from({ length: 12 }, () => tenant.sh('sleep 1', { resources: { cpuMillis: 400, memoryBytes: 64 * MiB } })),
    );
    const ended = await Promise.all(runs.map(({ id }) => tenant.ended(id)));
    expect(ended.map(({ state }) => state)).toEqual(Array(12).fill('succeeded'));
    expect(new Set(ended.map(nodeOf)).size).toBeGreaterThan(1);
  });

  it('with one full and one dead, take runs where there is room, and keep the rest waiting', async () => {
    const full = await tenant.sh('sleep 300', { resources: { cpuMillis: 500, memoryBytes: 100 * MiB }, labels: { on: 'small' } });
    // Whatever it chose, fill the small one: what it cannot hold goes elsewhere and is canceled.
    const fillers = [full];
    while (!(await Promise.all(fillers.map(({ id }) => tenant.reached(id, ['running'])))).some((run) => nodeOf(run) === 'small')) {
      fillers.push(await tenant.sh('sleep 300', { resources: { cpuMillis: 500, memoryBytes: 100 * MiB } }));
      expect(fillers.length).toBeLessThan(15);
    }
    await Promise.all(
      fillers.map(async ({ id }) => {
        if (nodeOf(await tenant.run(id)) === 'small') return;
        await tenant.api.post(`/v1/runs/${id}/cancel`);
        await tenant.ended(id);
      }),
    );

    await test.service.agents.get('doomed')!.stop('SIGKILL');
    await eventually(
      async () => {
        expect((await test.nodes()).find(({ name }) => name === 'doomed')?.state).toBe('lost');
      },
      { timeoutMs: 15_000 },
    );

    const runs = await Promise.all(
      Array.from({ length: 4 }, () => tenant.sh('sleep 0.2', { resources: { cpuMillis: 500, memoryBytes: 200 * MiB } })),
    );
    const ended = await Promise.all(runs.map(({ id }) => tenant.ended(id)));
    expect(ended.map(nodeOf)).toEqual(Array(4).fill('large'));

    const tooLarge = await tenant.sh('true', { resources: { cpuMillis: 3000, memoryBytes: 64 * MiB } });
    await eventually(
      async () => {
        expect(await tenant.run(tooLarge.id)).toMatchObject({
          state: 'queued',
          waitingFor: 'capacity',
          waitingReason: expect.stringMatching(/cpu/i),
        });
      },
      { timeoutMs: 10_000 },
    );
    await test.service.agents.get('doomed')!.start();
    expect(nodeOf(await tenant.ended(tooLarge.id))).toBe('doomed');
  });
});

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestService, type TestTenant } from '../support/service.js';

describe('an agent that is killed', () => {
  let test: TestService;
  let tenant: TestTenant;

  beforeAll(async () => {
    test = await TestService.start({ agents: [{ name: 'one' }] });
    tenant = await test.tenant('crash');
  });
  afterAll(() => test?.stop());

  const agent = () => test.service.agents.get('one')!;

  it('finds the exit of a container that ended meanwhile, and its whole log', async () => {
    const lines = 2000;
    const run = await tenant.sh(`i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); [ $i = 1000 ] && sleep 2; done; exit 37`);
    await tenant.reached(run.id, ['running']);
    await agent().stop('SIGKILL');
    // The container has ended before anybody looks again.
    await sleep(4000);
    expect((await tenant.run(run.id)).state).toBe('running');
    await agent().start();

    const ended = await tenant.ended(run.id);
    expect(ended).toMatchObject({ state: 'failed', exitCode: 37, failure: { code: 'nonZeroExit', blame: 'user' } });
    expect(ended.attempts).toHaveLength(1);
    const log = await tenant.logs(run.id);
    expect(log).toBe(Array.from({ length: lines }, (_, index) => `line ${index}\n`).join(''));
  });

  it('takes up a container that still runs', async () => {
    const run = await tenant.sh('echo before; sleep 4; echo after; exit 3');
    await tenant.reached(run.id, ['running']);
    await agent().stop('SIGKILL');
    await agent().start();
    expect(await tenant.ended(run.id)).toMatchObject({ state: 'failed', exitCode: 3 });
    expect(await tenant.logs(run.id)).toBe('before\nafter\n');
  });

  it('is started again by whoever supervises it, and stops what was canceled meanwhile', async () => {
    const run = await tenant.sh('trap "exit 9" TERM; while :; do sleep 0.1; done');
    await tenant.reached(run.id, ['running']);
    agent().kill('SIGKILL');
    await tenant.api.post(`/v1/runs/${run.id}/cancel`);
    expect(await tenant.ended(run.id)).toMatchObject({ state: 'canceled' });
  });

  it('leaves nothing of them behind', async () => {
    await test.service.stop();
    expect(await test.leftovers()).toEqual([]);
  });
});

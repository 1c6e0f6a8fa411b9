import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Run, Tenant } from '@berth/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestService, type TestTenant } from '../support/service.js';

const submissions = 500;
const rounds = 20;
const limit = 10;

/** Posts one run on a connection of the agent's pool; answers the status and the run. */
function post(tenant: TestTenant, agent: Agent, body: object): Promise<{ status: number; run: Run }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${tenant.service.url}/v1/runs`,
      { method: 'POST', agent, headers: { authorization: `Bearer ${tenant.key}`, 'content-type': 'application/json' } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, run: JSON.parse(Buffer.concat(chunks).toString('utf8')) as Run }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(JSON.stringify(body));
  });
}

/** Every run of the tenant, page by page. */
async function allRuns(tenant: TestTenant): Promise<Run[]> {
  const runs: Run[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: { items: Run[]; nextCursor: string | null } = await tenant.api.get(
      `/v1/runs?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`,
    );
    runs.push(...page.items);
    cursor = page.nextCursor;
  }
  return runs;
}

describe('a quota of ten', () => {
  let test: TestService;

  // No agent: a run that holds a reservation keeps it, so an eleventh would be there to be seen.
  beforeAll(async () => {
    test = await TestService.start({ agents: [] });
  });
  afterAll(() => test?.stop());

  it(`holds against ${submissions} submissions at once from many connections, ${rounds} times over, and loses none`, {
    timeout: 240_000,
  }, async () => {
    const connections = new Agent({ keepAlive: true, maxSockets: 100 });
    for (let round = 0; round < rounds; round += 1) {
      const tenant = await test.tenant(`round-${round}`, { concurrentRuns: limit, cpuMillis: 1_000_000, memoryBytes: 2 ** 40 });
      const image = tenant.image;
      let open = true;
      const watch = (async () => {
        let most = 0;
        for (; open; await sleep(10)) most = Math.max(most, (await tenant.used()).concurrentRuns);
        return most;
      })();
      const answers = await Promise.all(
        Array.from({ length: submissions }, () => post(tenant, connections, { image, command: ['/bin/true'] })),
      );
      open = false;

      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
      expect(await watch).toBeLessThanOrEqual(limit);
      const runs = await allRuns(tenant);
      expect(new Set(runs.map(({ id }) => id))).toEqual(new Set(answers.map(({ run }) => run.id)));
      expect(runs.filter(({ waitingFor }) => waitingFor === 'quota')).toHaveLength(submissions - limit);
      expect((await tenant.used()).concurrentRuns).toBe(limit);
    }
    connections.destroy();
  });

  it('admits the next as one goes, never one too many, until all are gone', { timeout: 120_000 }, async () => {
    const tenant = await test.tenant('draining', { concurrentRuns: limit, cpuMillis: 1_000_000, memoryBytes: 2 ** 40 });
    const ids = await Promise.all(Array.from({ length: 200 }, async () => (await tenant.sh('true')).id));
    let most = 0;
    while (ids.length > 0) {
      await Promise.all(ids.splice(0, 20).map((id) => tenant.api.post(`/v1/runs/${id}/cancel`)));
      most = Math.max(most, (await tenant.used()).concurrentRuns);
    }
    expect(most).toBe(limit);
    const { used } = await test.service.admin.get<Tenant>(`/v1/admin/tenants/${tenant.tenant.id}`);
    expect(used).toMatchObject({ concurrentRuns: 0, cpuMillis: 0, memoryBytes: 0, pids: 0, queuedRuns: 0 });
  });
});

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@berth/testing';
import type { Run } from '@berth/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  countInodes,
  isOfRootOrContainer,
  type Kind,
  openDescriptors,
  settledLeftovers,
  takeInventory,
} from '#scripts/machine-inventory.mjs';
import { pushBusybox } from '../support/busybox-image.js';
import { TestService, type TestTenant } from '../support/service.js';

const MiB = 1 << 20;
const concurrency = 4;
/** What an agent keeps ready by default: bare ones, and ones with the root of what ran lately. */
const pooledSandboxes = 4 + 4;
const sandboxName = /pool-[0-9a-f]{16}/;

/** A way for a run to end: how to bring it about, and what its record must then say. */
interface Ending {
  readonly submit: (tenant: TestTenant, index: number) => Promise<Run>;
  readonly meanwhile?: (tenant: TestTenant, run: Run) => Promise<unknown>;
  readonly expected: (index: number) => object;
}

const endings: Record<string, Ending> = {
  'ends well': { submit: (tenant) => tenant.sh('echo well'), expected: () => ({ state: 'succeeded', exitCode: 0, failure: null }) },
  'exits otherwise': {
    submit: (tenant, index) => tenant.sh(`exit ${(index % 250) + 1}`),
    expected: (index) => ({ state: 'failed', exitCode: (index % 250) + 1, failure: { code: 'nonZeroExit', blame: 'user' } }),
  },
  'writes, forks and leaves orphans': {
    submit: (tenant) => tenant.sh('dd if=/dev/zero of=/big bs=64k count=16 2>/dev/null; (sleep 100 &); (sleep 100 &); echo done'),
    expected: () => ({ state: 'succeeded' }),
  },
  'is killed by a signal of its own': {
    submit: (tenant) => tenant.sh('kill -9 $$', { init: true }),
    expected: () => ({ state: 'failed', exitCode: 137 }),
  },
  'outgrows its memory': {
    submit: (tenant) => tenant.submit({ command: ['/bin/tail', '/dev/zero'], resources: { memoryBytes: 16 * MiB, cpuMillis: 500 } }),
    expected: () => ({ state: 'failed', failure: { code: 'outOfMemory', blame: 'user' } }),
  },
  'outlives its time': {
    submit: (tenant) => tenant.sh('trap "" TERM; while :; do sleep 1; done', { timeoutMs: 300, stopGraceMs: 100 }),
    expected: () => ({ state: 'failed', failure: { code: 'timeout', blame: 'user' } }),
  },
  'is canceled while it runs': {
    submit: (tenant) => tenant.sh('trap "exit 0" TERM; while :; do sleep 0.05; done'),
    meanwhile: async (tenant, run) => {
      await tenant.reached(run.id, ['running']);
      await tenant.api.post(`/v1/runs/${run.id}/cancel`);
    },
    expected: () => ({ state: 'canceled' }),
  },
  'is canceled at once': {
    submit: (tenant) => tenant.sh('sleep 60', { stopGraceMs: 0 }),
    meanwhile: (tenant, run) => tenant.api.post(`/v1/runs/${run.id}/cancel`),
    expected: () => ({ state: 'canceled' }),
  },
  'cannot be pulled': {
    submit: (tenant) => tenant.submit({ image: `registry.berth/${tenant.tenant.name}/broken:latest` }),
    expected: () => ({ state: 'failed', failure: { code: 'imagePullFailed' } }),
  },
  'cannot be started': {
    submit: (tenant) => tenant.submit({ command: ['/no/such/program'] }),
    expected: () => ({ state: 'failed', failure: { code: 'startFailed', blame: 'user' } }),
  },
};

describe('two hundred runs in a row', () => {
  let test: TestService;
  let tenant: TestTenant;
  const ids: string[] = [];

  beforeAll(async () => {
    // Room for the runs at a time, whatever the machine has.
    test = await TestService.start({ agents: [{ name: 'one', cpuMillis: 8000, memoryBytes: 2048 * MiB }] });
    tenant = await test.tenant('busy');
    const digests = await pushBusybox(test.service.registryUrl, 'busy/broken', tenant.key, { note: 'a layer that goes missing' });
    removeBlob(join(test.home, 'registry'), digests.layers.at(-1)!);
    for (const name of Object.keys(endings)) await endsAsItShould(name, 0);
  });
  afterAll(() => test?.stop());

  async function endsAsItShould(name: string, index: number): Promise<void> {
    const { submit, meanwhile, expected } = endings[name]!;
    const run = await submit(tenant, index);
    ids.push(run.id);
    await meanwhile?.(tenant, run);
    expect(await tenant.ended(run.id), name).toMatchObject(expected(index));
  }

  it('of every kind of end leave nothing behind', { timeout: 300_000 }, async () => {
    const agentFolder = join(test.home, 'agent');
    const services = {
      agent: test.service.agents.get('one')!,
      'control plane': test.service.controlPlane,
      registry: test.service.registry,
    };
    const descriptors = () => Object.fromEntries(Object.entries(services).map(([name, { pid }]) => [name, openDescriptors(pid!)]));
    await settledLeftovers(test.before, isOfARun);
    await eventually(() => expect(sandboxes().size).toBe(pooledSandboxes), { timeoutMs: 15_000 });
    const before = { machine: takeInventory(), descriptors: descriptors(), inodes: countInodes(agentFolder) + countInodes('/run/berth') };

    const names = Object.keys(endings);
    let next = 0;
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (let index = next++; index < 200; index = next++) await endsAsItShould(names[index % names.length]!, index);
      }),
    );

    expect(await settledLeftovers(before.machine, (text, kind) => isOfARun(text, kind) && !sandboxName.test(text), 15_000)).toEqual([]);
    // Others wait by now, and of those that were used nothing is left.
    await eventually(() => expect(sandboxes().size).toBe(pooledSandboxes), { timeoutMs: 15_000 });
    await eventually(() => expect(countInodes(agentFolder) + countInodes('/run/berth')).toBeLessThanOrEqual(before.inodes), {
      timeoutMs: 15_000,
    });
    // Idle connections are kept for half a minute and come and go; a leak of one descriptor a run would stay, as hundreds.
    await eventually(
      () => {
        for (const [name, count] of Object.entries(descriptors())) expect(count, name).toBeLessThan(before.descriptors[name]! + 20);
      },
      { timeoutMs: 60_000, intervalMs: 500 },
    );
    // What was held is given back; what was spent, of logs and budgets, stays counted.
    const held = { concurrentRuns: 0, queuedRuns: 0, cpuMillis: 0, memoryBytes: 0, diskBytes: 0, pids: 0 };
    expect(await tenant.used()).toMatchObject(held);
  });

  /** The names of the sandboxes, waiting or used, of which there is anything on the machine. */
  function sandboxes(): Set<string> {
    const texts = Object.values(takeInventory()).flatMap((items) => [...items.values()]);
    return new Set(texts.filter((text) => text.includes(test.home)).flatMap((text) => sandboxName.exec(text) ?? []));
  }

  /** Of ours: our home, or one of our runs. Whatever has no name of its own counts as ours. */
  function isOfARun(text: string, kind: Kind): boolean {
    return isOfRootOrContainer(text, kind) || text.includes(test.home) || ids.some((id) => text.includes(id));
  }
});

function removeBlob(folder: string, digest: string): void {
  const hex = digest.replace('sha256:', '');
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith(hex) && path.includes('blob'));
  expect(found.length).toBeGreaterThan(0);
  for (const path of found) rmSync(join(folder, path), { recursive: true });
}

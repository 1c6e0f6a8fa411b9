import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CreateRunRequest, Node, Quota, Run, Tenant } from '@berth/wire';
import { vi } from 'vitest';
import { type Inventory, settledLeftovers, takeInventory } from '#scripts/machine-inventory.mjs';
import { type ApiClient, apiClient, createKey, ensureTenant, listNodes } from '#scripts/service/admin-api.mjs';
import { type AgentOptions, freePorts, LocalService } from '#scripts/service/local-service.mjs';
import { pushBusybox } from './busybox-image.js';

// Whole services start and stop within these tests, on machines that may be busy.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 180_000 });

const terminal = ['succeeded', 'failed', 'canceled'];

/** Short timers, so that a lost node is lost within a test's patience; the proportions are those of the defaults. */
export const shortLease = { BERTH_HEARTBEAT_MS: '250', BERTH_STOP_AFTER_MS: '2500', BERTH_LOST_AFTER_MS: '4000' };

/** One tenant's view of a service. */
export class TestTenant {
  constructor(
    readonly tenant: Tenant,
    readonly key: string,
    readonly api: ApiClient,
    readonly service: LocalService,
  ) {}

  /** Submits a run of the busybox image, pushed to this tenant's repository before, with small limits unless told. */
  submit(request: Partial<CreateRunRequest>, headers?: Record<string, string>): Promise<Run> {
    const resources = { cpuMillis: 100, memoryBytes: 32 << 20, ...request.resources };
    return this.api.post<Run>('/v1/runs', { image: this.image, ...request, resources }, headers);
  }

  /** A shell script as a run. */
  sh(script: string, request: Partial<CreateRunRequest> = {}): Promise<Run> {
    return this.submit({ command: ['/bin/sh', '-c', script], ...request });
  }

  get image(): string {
    return `registry.berth/${this.tenant.name}/busybox:latest`;
  }

  run(id: string): Promise<Run> {
    return this.api.get<Run>(`/v1/runs/${id}`);
  }

  /** The run once it is terminal. */
  async ended(id: string, limitMs = 60_000): Promise<Run> {
    const end = performance.now() + limitMs;
    for (;;) {
      const run = await this.api.get<Run>(`/v1/runs/${id}/wait?timeoutMs=5000`);
      if (terminal.includes(run.state)) return run;
      if (performance.now() > end)
        throw new Error(`${id} is still ${run.state} (${run.waitingFor ?? 'waiting for nothing'}) after ${limitMs} ms`);
    }
  }

  /** The run once it is in this state or beyond it. */
  async reached(id: string, states: readonly string[], limitMs = 30_000): Promise<Run> {
    const end = performance.now() + limitMs;
    for (;;) {
      const run = await this.run(id);
      if (states.includes(run.state)) return run;
      if (terminal.includes(run.state) || performance.now() > end)
        throw new Error(`${id} is ${run.state}, not ${states.join(' or ')}: ${JSON.stringify(run.failure)}`);
      await sleep(20);
    }
  }

  logs(id: string): Promise<string> {
    return this.api.get<string>(`/v1/runs/${id}/logs?follow=true`);
  }

  async used(): Promise<Quota> {
    return (await this.service.admin.get<Tenant>(`/v1/admin/tenants/${this.tenant.id}`)).used;
  }
}

/** A whole service of its own for one spec file: a temporary home, free ports, real processes. */
export class TestService {
  private constructor(
    readonly service: LocalService,
    readonly home: string,
    readonly before: Inventory,
  ) {}

  /** Starts it with these agents, in order. */
  static async start({ agents = [{}], env = {} }: { agents?: AgentOptions[]; env?: Record<string, string> } = {}): Promise<TestService> {
    const before = takeInventory();
    const home = mkdtempSync(join(tmpdir(), 'berth-e2e-'));
    // Trying every other runtime of the machine takes each agent a second, and has a test of its own.
    const service = new LocalService({ home, ports: await freePorts(), env: { BERTH_RUNTIME_CLASSES: 'none', ...env } });
    const test = new TestService(service, home, before);
    service.on('gave-up', (error: Error) => console.error(error.message));
    try {
      await service.start();
      for (const agent of agents) await service.startAgent({ metricsPort: 0, ...agent });
    } catch (error) {
      await test.stop();
      throw error;
    }
    return test;
  }

  /** A tenant with this quota, its key, and the busybox image in its repository. */
  async tenant(
    name: string,
    quota: Partial<Quota> = { concurrentRuns: 1000, cpuMillis: 1_000_000, memoryBytes: 2 ** 40 },
  ): Promise<TestTenant> {
    const tenant = await ensureTenant(this.service.admin, name, quota);
    const key = await createKey(this.service.admin, tenant, 'test');
    const one = new TestTenant(tenant, key, apiClient(this.service.url, key), this.service);
    await pushBusybox(this.service.registryUrl, `${name}/busybox`, key);
    return one;
  }

  nodes(): Promise<Node[]> {
    return listNodes(this.service.admin);
  }

  /** What this service has put on the machine since it began and has not taken away: its home is in what it starts and mounts. */
  leftovers(patienceMs = 10_000): Promise<string[]> {
    return settledLeftovers(this.before, (text) => text.includes(this.home), patienceMs);
  }

  async stop(): Promise<void> {
    await this.service.stop();
    rmSync(this.home, { recursive: true, force: true });
  }
}

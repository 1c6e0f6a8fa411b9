import { apiClient, createKey, ensureTenant } from '../service/admin-api.mjs';

const terminal = ['succeeded', 'failed', 'canceled'];

/** One tenant of the demo: its key, its part of the registry, and what it asks the API. */
export class DemoTenant {
  static async create(service, name, quota) {
    const tenant = await ensureTenant(service.admin, name, quota);
    return new DemoTenant(service, name, await createKey(service.admin, tenant, 'demo'));
  }

  constructor(service, name, key) {
    this.name = name;
    this.key = key;
    this.registryUrl = service.registryUrl;
    this.api = apiClient(service.url, key);
    this.ids = [];
  }

  image = (name) => `registry.berth/${this.name}/${name}`;

  async submit(request) {
    const run = await this.api.post('/v1/runs', { timeoutMs: 60_000, stopGraceMs: 1000, ...request });
    this.ids.push(run.id);
    return run;
  }

  async ended(id) {
    for (let tries = 0; tries < 12; tries += 1) {
      const run = await this.api.get(`/v1/runs/${id}/wait?timeoutMs=10000`);
      if (terminal.includes(run.state)) return run;
    }
    throw new Error(`${id} has not ended after two minutes`);
  }

  /** The whole log: following it ends when the last byte is there. */
  logs = (id) => this.api.get(`/v1/runs/${id}/logs?follow=true`);

  /** Submits, waits, and answers the run with its output. */
  async run(request) {
    const run = await this.ended((await this.submit(request)).id);
    return { ...run, output: await this.logs(run.id) };
  }

  /** The refusal that a request meets, or null when it is accepted. */
  async refusal(ask) {
    try {
      await ask();
      return null;
    } catch (error) {
      if (!error.problem) throw error;
      return error;
    }
  }
}

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** `bare`: for any run; `root`: with the root of an image, for runs of one tenant. */
export type SandboxKind = 'bare' | 'root';

const makeSecondsBuckets = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** What the pool of sandboxes tells of itself. */
export class PoolMetrics {
  readonly taken: Counter<'kind' | 'result'>;
  readonly makeSeconds: Histogram<'kind'>;

  constructor(sources: { poolSandboxes(): Readonly<Record<SandboxKind, number>> }, registers: Registry[]) {
    this.taken = new Counter({
      name: 'berth_agent_pool_taken_total',
      help: 'Starts that looked for a sandbox made ahead, bare or with the root of an image of its tenant, by whether one waited (hit) or not (miss)',
      labelNames: ['kind', 'result'],
      registers,
    });
    this.makeSeconds = new Histogram({
      name: 'berth_agent_pool_make_seconds',
      help: 'Time to make one sandbox ahead',
      labelNames: ['kind'],
      buckets: makeSecondsBuckets,
      registers,
    });
    new Gauge({
      name: 'berth_agent_pool_sandboxes',
      help: 'Sandboxes that wait for a run',
      labelNames: ['kind'],
      registers,
      collect() {
        for (const [kind, count] of Object.entries(sources.poolSandboxes())) this.set({ kind }, count);
      },
    });
  }
}

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const makeSecondsBuckets = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** What the pool of sandboxes tells of itself. */
export class PoolMetrics {
  readonly taken: Counter<'result'>;
  readonly makeSeconds: Histogram;

  constructor(sources: { poolSandboxes(): number }, registers: Registry[]) {
    this.taken = new Counter({
      name: 'berth_agent_pool_taken_total',
      help: 'Starts that looked for a sandbox made ahead, by whether one waited (hit) or not (miss)',
      labelNames: ['result'],
      registers,
    });
    this.makeSeconds = new Histogram({
      name: 'berth_agent_pool_make_seconds',
      help: 'Time to make one sandbox ahead',
      buckets: makeSecondsBuckets,
      registers,
    });
    new Gauge({
      name: 'berth_agent_pool_sandboxes',
      help: 'Sandboxes that wait for a run',
      registers,
      collect() {
        this.set(sources.poolSandboxes());
      },
    });
  }
}

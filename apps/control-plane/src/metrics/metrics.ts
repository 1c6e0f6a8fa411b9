import type { CgroupUsage } from '@berth/wire';
import { Injectable } from '@nestjs/common';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds, from a warm start's fraction of a millisecond to a cold pull's minutes. */
const latencySeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
const MiB = 1024 ** 2;

/**
 * What this process counts. No label holds an id or a name that a tenant chose: the number of series does not grow with use, and a scrape shows
 * no tenant's data.
 */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  readonly submissions = new Counter({
    name: 'berth_submissions_total',
    help: 'Submissions by outcome: admitted, waiting (for quota), replayed, or the code of the refusal',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly submitToDispatch = new Histogram({
    name: 'berth_submit_to_dispatch_seconds',
    help: 'From the acceptance of a run to the sending of its assignment to a node',
    buckets: latencySeconds,
    registers: [this.registry],
  });
  readonly submitToExit = new Histogram({
    name: 'berth_submit_to_exit_seconds',
    help: "From the acceptance of a run to the report of its container's exit",
    buckets: latencySeconds,
    registers: [this.registry],
  });
  readonly placements = new Counter({
    name: 'berth_placements_total',
    help: 'Placement decisions by outcome: placed, noRoom, overtaken (by another replica or a change of the fleet)',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly wakeUps = new Counter({
    name: 'berth_wake_ups_total',
    help: 'Wake-ups by outcome: published, taken, failed',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly reports = new Counter({
    name: 'berth_reports_total',
    help: "Nodes' reports by kind and outcome: applied, stale",
    labelNames: ['kind', 'outcome'],
    registers: [this.registry],
  });
  readonly runPeakMemory = new Histogram({
    name: 'berth_run_peak_memory_bytes',
    help: 'Peak memory of ended containers, as their cgroup counted it',
    buckets: [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536].map((n) => n * MiB),
    registers: [this.registry],
  });
  readonly runCpuTime = new Histogram({
    name: 'berth_run_cpu_seconds',
    help: 'Cpu time of ended containers, as their cgroup counted it',
    buckets: [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000],
    registers: [this.registry],
  });
  private readonly throttled = new Counter({
    name: 'berth_run_cpu_throttled_seconds_total',
    help: 'Time that ended containers waited for their cpu limit',
    registers: [this.registry],
  });
  private readonly oomKills = new Counter({
    name: 'berth_run_oom_kills_total',
    help: 'Processes of ended containers that the kernel killed for their memory',
    registers: [this.registry],
  });
  private readonly diskBytes = new Counter({
    name: 'berth_run_disk_bytes_total',
    help: 'Bytes that ended containers read from and wrote to disks',
    labelNames: ['direction'],
    registers: [this.registry],
  });
  readonly logBytes = new Counter({ name: 'berth_log_bytes_total', help: 'Bytes of logs stored', registers: [this.registry] });
  readonly sweeps = new Counter({
    name: 'berth_sweeper_actions_total',
    help: 'What the sweeper found to repair, by action',
    labelNames: ['action'],
    registers: [this.registry],
  });
  readonly sweepFailures = new Counter({
    name: 'berth_sweeper_failures_total',
    help: 'Sweeper actions that failed',
    labelNames: ['action'],
    registers: [this.registry],
  });
  readonly httpDuration = new Histogram({
    name: 'berth_http_request_duration_seconds',
    help: 'HTTP requests by route and status; of a stream, until its end',
    labelNames: ['method', 'route', 'status'],
    buckets: latencySeconds,
    registers: [this.registry],
  });

  constructor() {
    for (const outcome of ['placed', 'noRoom', 'overtaken']) this.placements.inc({ outcome }, 0);
    for (const outcome of ['admitted', 'waiting', 'replayed']) this.submissions.inc({ outcome }, 0);
    for (const outcome of ['published', 'taken', 'failed']) this.wakeUps.inc({ outcome }, 0);
    for (const outcome of ['applied', 'stale']) this.reports.inc({ kind: 'exited', outcome }, 0);
    collectDefaultMetrics({ register: this.registry, prefix: 'berth_' });
  }

  /** Counts what an ended container used; what its node's kernel does not count stays out. */
  countUsage({ cpuThrottledUs, oomKills, readBytes, writtenBytes }: CgroupUsage): void {
    this.throttled.inc((cpuThrottledUs ?? 0) / 1e6);
    this.oomKills.inc(oomKills ?? 0);
    this.diskBytes.inc({ direction: 'read' }, readBytes ?? 0);
    this.diskBytes.inc({ direction: 'written' }, writtenBytes ?? 0);
  }

  /** A gauge that is read when scraped. When `read` fails, the scrape goes on without its values. */
  observe(name: string, help: string, labelNames: readonly string[], read: () => Promise<Observation[]> | Observation[]): void {
    const gauge = new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      async collect() {
        const observations = await Promise.resolve()
          .then(read)
          .catch((): Observation[] => []);
        gauge.reset();
        for (const { labels = {}, value } of observations) gauge.set(labels, value);
      },
    });
  }
}

export interface Observation {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

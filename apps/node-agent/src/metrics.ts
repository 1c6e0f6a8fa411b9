import { type DiskLimitMethod, diskLimitMethods } from '@berth/image';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { PoolMetrics, type SandboxKind } from './sandbox/pool-metrics.js';

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** What is read when somebody asks, rather than counted when it happens. */
export interface MetricSources {
  /** Attempts on this node by what they are doing. */
  containers(): Readonly<Record<string, number>>;
  spooledReports(): number;
  links(): Readonly<Record<'control' | 'logs', boolean>>;
  /** Bytes on disk: once for each layer, and summed over the images that share them. */
  poolSandboxes(): Readonly<Record<SandboxKind, number>>;
  disk(): { readonly layerBytes: number; readonly imageBytes: number };
  /** The filesystem that holds them. */
  space(): Promise<{ readonly capacityBytes: number; readonly availableBytes: number }>;
  /** How writable layers are bounded; null: they are not. */
  diskLimit(): DiskLimitMethod | null;
}

/** The agent's metrics, all named berth_agent_*, in the units of their names. */
export class AgentMetrics {
  readonly registry = new Registry();
  readonly pullSeconds: Histogram<'result'>;
  readonly pulledBytes: Counter;
  readonly layers: Counter<'source'>;
  readonly savedBytes: Counter;
  readonly stepSeconds: Histogram<'phase'>;
  readonly logBytes: Counter;
  readonly exits: Counter<'kind'>;
  readonly pool: PoolMetrics;
  readonly collectedBytes: Counter;
  readonly collectedImages: Counter;

  constructor(sources: MetricSources) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry, prefix: 'berth_agent_' });
    this.pullSeconds = new Histogram({
      name: 'berth_agent_pull_seconds',
      help: 'Time to bring an image onto this node, images that were here already included',
      labelNames: ['result'],
      buckets: secondsBuckets,
      registers,
    });
    this.pulledBytes = new Counter({
      name: 'berth_agent_pulled_bytes_total',
      help: 'Compressed bytes of layers fetched from registries',
      registers,
    });
    this.layers = new Counter({
      name: 'berth_agent_layers_total',
      help: 'Layers that pulls needed, by whether they were here already (cache) or were fetched (registry)',
      labelNames: ['source'],
      registers,
    });
    this.savedBytes = new Counter({
      name: 'berth_agent_pull_saved_bytes_total',
      help: 'Disk space of the layers that pulls needed and that were here already',
      registers,
    });
    this.stepSeconds = new Histogram({
      name: 'berth_agent_start_seconds',
      help: 'Time of each phase of starting and cleaning up a container',
      labelNames: ['phase'],
      buckets: secondsBuckets,
      registers,
    });
    this.logBytes = new Counter({
      name: 'berth_agent_log_shipped_bytes_total',
      help: 'Bytes of logs that the control plane has acknowledged',
      registers,
    });
    this.exits = new Counter({
      name: 'berth_agent_attempts_ended_total',
      help: 'Attempts that ended here, by the kind of their last report',
      labelNames: ['kind'],
      registers,
    });
    this.collectedBytes = new Counter({
      name: 'berth_agent_images_collected_bytes_total',
      help: 'Disk space of the layers that were removed because nothing used them',
      registers,
    });
    this.collectedImages = new Counter({
      name: 'berth_agent_images_collected_total',
      help: 'Images that were removed because nothing used them',
      registers,
    });
    this.pool = new PoolMetrics(sources, registers);
    observe(sources, registers);
  }
}

function observe(sources: MetricSources, registers: Registry[]): void {
  new Gauge({
    name: 'berth_agent_containers',
    help: 'Attempts on this node by what they are doing',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      for (const [state, count] of Object.entries(sources.containers())) this.set({ state }, count);
    },
  });
  new Gauge({
    name: 'berth_agent_reports_spooled',
    help: 'Reports that the control plane has not acknowledged',
    registers,
    collect() {
      this.set(sources.spooledReports());
    },
  });
  new Gauge({
    name: 'berth_agent_link_up',
    help: '1 while the channel to the control plane stands',
    labelNames: ['channel'],
    registers,
    collect() {
      for (const [channel, up] of Object.entries(sources.links())) this.set({ channel }, up ? 1 : 0);
    },
  });
  new Gauge({
    name: 'berth_agent_disk_limit',
    help: '1 for the way by which writable layers are bounded for runs that ask for it',
    labelNames: ['by'],
    registers,
    collect() {
      for (const by of diskLimitMethods) this.set({ by }, sources.diskLimit() === by ? 1 : 0);
    },
  });
  new Gauge({
    name: 'berth_agent_layers_bytes',
    help: 'Disk space of layers: "unique" counts each once, "summed" once for each image that holds it',
    labelNames: ['count'],
    registers,
    collect() {
      const { layerBytes, imageBytes } = sources.disk();
      this.set({ count: 'unique' }, layerBytes);
      this.set({ count: 'summed' }, imageBytes);
    },
  });
  new Gauge({
    name: 'berth_agent_disk_bytes',
    help: 'The filesystem that holds layers and writable layers: its capacity, and what is left of it',
    labelNames: ['count'],
    registers,
    async collect() {
      const { capacityBytes, availableBytes } = await sources.space();
      this.set({ count: 'capacity' }, capacityBytes);
      this.set({ count: 'available' }, availableBytes);
    },
  });
}

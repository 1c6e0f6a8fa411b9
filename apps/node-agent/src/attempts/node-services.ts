import type { OciSeccomp } from '@berth/core';
import type { DiskLimitMethod, LayerForm, Snapshotter } from '@berth/image';
import type { ShimLauncher } from '@berth/runtime';
import type { HostFacts } from '../host/host-facts.js';
import type { ImageSource } from '../images/image-source.js';
import type { StopPage } from '../lease/stop-page.js';
import type { LogShipper } from '../logs/log-shipper.js';
import type { AgentMetrics } from '../metrics.js';
import type { Egress } from '../network/egress.js';
import type { ReportSpool } from '../reports/report-spool.js';
import type { NodeRuntimes } from '../runtimes/node-runtimes.js';
import type { IdSlots } from '../sandbox/id-slots.js';
import type { SandboxPool } from '../sandbox/sandbox-pool.js';

/** Where things stand on this node. */
export interface NodePaths {
  /** Folder of the attempts' directories. */
  readonly containers: string;
  /** The cgroup under which this node's containers are, relative to each hierarchy's root: `/berth/NODE`. */
  readonly cgroupParent: string;
  readonly initProgram: string;
}

/** What the steps of attempts work with. */
export interface NodeServices {
  readonly paths: NodePaths;
  readonly bootId: string;
  readonly host: HostFacts;
  readonly seccomp: OciSeccomp;
  readonly logMaxBytes: number;
  readonly slots: IdSlots;
  readonly spool: ReportSpool;
  readonly shipper: LogShipper;
  readonly images: ImageSource;
  readonly snapshotter: Snapshotter;
  /** What layers become that are pulled from here on. */
  readonly layerForm: LayerForm;
  /** How a writable layer is bounded for a run that asks for it; null: this node takes no such runs. */
  readonly diskLimit: DiskLimitMethod | null;
  readonly launcher: ShimLauncher;
  readonly runtimes: NodeRuntimes;
  /** Sandboxes that wait for a run. */
  readonly pool: SandboxPool;
  readonly stopPage: StopPage;
  /** Null where the operator does not want it. */
  readonly egress: Egress | null;
  readonly metrics: AgentMetrics;
  /** Nanoseconds of CLOCK_BOOTTIME. */
  readonly nowNs: () => bigint;
  /** Whether the control channel stands. */
  readonly linked: () => boolean;
}

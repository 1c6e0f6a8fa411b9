import { chmod, mkdir } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import type { ContentStore, DiskLimitMethod } from '@berth/image';
import type { Logger } from 'pino';
import type { Attempt } from './attempts/attempt.js';
import { AttemptTable } from './attempts/attempt-table.js';
import { endExecutors } from './attempts/execute-end.js';
import { startExecutors } from './attempts/execute-start.js';
import type { NodeServices } from './attempts/node-services.js';
import { timedExecutors } from './attempts/timed-executors.js';
import type { AgentConfig } from './config.js';
import { claimDirectory } from './host/claim-directory.js';
import { diskCapacity } from './host/disk-limit.js';
import { probeSnapshots } from './host/probe-snapshots.js';
import { DiskReport } from './images/disk-report.js';
import { ImageCollector } from './images/image-collector.js';
import type { RegistryImageSource } from './images/registry-image-source.js';
import { ControlChannel, type ControlPeer } from './link/control-channel.js';
import { obtainCredential } from './link/credential.js';
import { serveMetrics } from './metrics-server.js';
import { openNode } from './open-node.js';
import { AnswerQuestions } from './questions/answer-questions.js';
import { CommitContainer } from './questions/commit-container.js';
import { findAttempts } from './recovery/find-attempts.js';
import { leftovers, removeCgroupParents, removeLeftovers } from './recovery/leftovers.js';
import { probeRuntimes } from './runtimes/probe-runtimes.js';
import type { SandboxPool } from './sandbox/sandbox-pool.js';
import { agentVersion } from './version.js';

/** A clean stop that takes the containers along gives each so long before SIGKILL, and all of it so long. */
const stopGraceMs = 5_000;
const stopLimitMs = 12_000;

/** One node's agent, running. */
export class Agent {
  private constructor(
    private readonly config: AgentConfig,
    private readonly node: NodeServices,
    private readonly store: ContentStore,
    private readonly table: AttemptTable,
    private readonly control: ControlChannel,
    private readonly pages: { readonly server: Server; readonly port: number },
    private readonly collector: ImageCollector,
    private readonly release: () => Promise<void>,
  ) {}

  /** Joins where it must, takes up what an earlier agent left, and connects. Throws when this machine cannot hold containers as promised. */
  static async start(config: AgentConfig, log: Logger, signal: AbortSignal): Promise<Agent> {
    await mkdir(join(config.directory, 'containers'), { recursive: true, mode: 0o700 });
    // Others may pass through, to a mount point that is theirs; what is inside is closed to them, each thing by itself.
    for (const path of [config.directory, join(config.directory, 'containers')]) await chmod(path, 0o711);
    const release = await claimDirectory(config.directory);
    const credential = await obtainCredential({
      path: join(config.directory, 'credential.json'),
      url: config.url,
      name: config.nodeName,
      joinToken: config.joinToken,
      log,
      signal,
    });
    let table: AttemptTable | undefined;
    let control: ControlChannel | undefined;
    let collector: ImageCollector | undefined;
    let pool: SandboxPool | undefined;
    const { node, images, store } = await openNode(config, credential, log, {
      containers: () => countContainers(table),
      pooled: () => pool?.sizes ?? { bare: 0, root: 0 },
      linked: () => control?.state === 'up',
      pulled: () => collector?.lookSoon(),
    });
    pool = node.pool;
    await probeSnapshots(node.snapshotter, config.directory);
    table = await takeUp(node, log);
    collector = collectorOf(config, node, store, table, log);
    const diskBytes = node.diskLimit === null ? undefined : await diskBytesOf(config, node, node.diskLimit);
    const features = [...(await probeRuntimes(node, log)), ...(node.egress === null ? [] : ['network:egress'])];

    const disk = new DiskReport(store, config.directory);
    await disk.refresh();
    control = new ControlChannel({
      url: config.url,
      credential: credential.credential,
      peer: peerOf(config, node, table, images, features, diskBytes, disk, log),
      spool: node.spool,
      stopPage: node.stopPage,
      nowNs: node.nowNs,
      log,
    });
    const [channel, running] = [control, table];
    const pages = await serveMetrics(config.metricsPort, {
      metrics: async () => ({ contentType: node.metrics.registry.contentType, text: await node.metrics.registry.metrics() }),
      health: () => ({ healthy: channel.state === 'up', detail: `the link to the control plane is ${channel.state}` }),
      images: async () => store.usage(),
      leftovers: () => leftovers(node, config.directory, new Set([...namesOf(running.attempts), ...node.pool.names])),
    });
    control.start();
    node.shipper.start();
    collector.start();
    pool.fill();
    log.info(
      { found: running.attempts.length, cgroupMode: node.host.cgroupMode, layers: node.layerForm, features, diskBytes },
      'the agent has started',
    );
    return new Agent(config, node, store, table, control, pages, collector, release);
  }

  get metricsPort(): number {
    return this.pages.port;
  }

  /** Ends the agent. Containers run on, for the next agent to find, unless the configuration takes them along. */
  async stop(): Promise<void> {
    if (this.config.stopContainers) await this.table.stopAll(stopGraceMs, stopLimitMs);
    await this.table.pause();
    await this.node.pool.close();
    await this.collector.stop();
    await this.control.stop();
    await this.node.shipper.stop();
    await this.node.spool.close();
    this.pages.server.close();
    this.pages.server.closeAllConnections();
    this.node.stopPage.close();
    await this.node.launcher.close();
    await this.node.snapshotter.close();
    await this.store.close();
    await this.node.egress?.close();
    await removeCgroupParents(this.node);
    await this.release();
  }
}

/** What is on this machine for attempts goes by their keys and by their sandboxes. */
function namesOf(attempts: readonly Attempt[]): readonly string[] {
  return attempts.flatMap(({ key, directory }) => [key, directory.sandbox]);
}

/** Finds what an earlier agent left, removes what belongs to nothing, and carries the rest on. */
async function takeUp(node: NodeServices, log: Logger): Promise<AttemptTable> {
  const executors = timedExecutors({ ...startExecutors(node), ...endExecutors(node) }, node.metrics);
  const table = new AttemptTable(node, executors, log);
  const found = await findAttempts(node, executors, log);
  await removeLeftovers(node, new Set(namesOf(found)), log);
  for (const attempt of found) table.carry(attempt);
  return table;
}

function collectorOf(config: AgentConfig, node: NodeServices, store: ContentStore, table: AttemptTable, log: Logger): ImageCollector {
  return new ImageCollector({
    store,
    snapshotter: node.snapshotter,
    directory: config.directory,
    ...config.images,
    inUse: () => table.attempts.map(({ assignment }) => assignment.image.digest),
    beforeCollecting: () => node.pool.dropRoots(),
    onCollected: ({ images, bytes }) => {
      node.metrics.collectedImages.inc(images.length);
      node.metrics.collectedBytes.inc(bytes);
    },
    log,
  });
}

function peerOf(
  config: AgentConfig,
  { host, layerForm, diskLimit, pool, snapshotter, runtimes }: NodeServices,
  table: AttemptTable,
  images: RegistryImageSource,
  features: readonly string[],
  diskBytes: number | undefined,
  disk: DiskReport,
  log: Logger,
): ControlPeer {
  const commit = new CommitContainer({
    snapshotter,
    runtimes,
    directory: join(config.directory, 'commits'),
    client: (authorization) => images.client(authorization),
  });
  const questions = new AnswerQuestions({ snapshotter, commit, attempts: () => table.attempts, log });
  let toldLayers = '';
  return {
    hello: {
      agentVersion,
      kernel: host.kernel,
      architecture: host.architecture,
      cgroupMode: host.cgroupMode,
      cpuMillis: config.cpuMillis ?? host.cpuMillis,
      memoryBytes: config.memoryBytes ?? host.memoryBytes - pool.memoryBytes,
      features: [...features, 'changes', 'commit', `layers:${layerForm}`, ...(diskLimit === null ? [] : [`disk:${diskLimit}`])],
      ...(diskBytes === undefined ? {} : { diskBytes }),
    },
    holds: () => table.holds(),
    changedLayers: () => {
      const layers = images.layers();
      if (layers.join() === toldLayers) return null;
      toldLayers = layers.join();
      return layers;
    },
    changedDisk: () => {
      // The heartbeat must not wait for a look at the disk: it tells the last one.
      void disk.refresh().catch(() => {});
      return disk.changed();
    },
    welcomed: (welcome) => {
      images.nameRegistries(welcome.registries);
      toldLayers = '';
      disk.forget();
    },
    assigned: (assignment) => table.assign(assignment),
    stopped: (lease, reason, graceMs) => table.stop(lease, reason, graceMs),
    asked: ({ id, lease, question }) => questions.answer(id, lease, question),
  };
}

function diskBytesOf(
  { diskBytes, memoryBytes, directory }: AgentConfig,
  { host }: NodeServices,
  by: DiskLimitMethod,
): number | Promise<number> {
  return diskBytes ?? diskCapacity(by, directory, memoryBytes ?? host.memoryBytes);
}

function countContainers(table: AttemptTable | undefined): Record<string, number> {
  const counts: Record<string, number> = { preparing: 0, running: 0, exited: 0, deleted: 0 };
  for (const { facts } of table?.attempts ?? []) {
    const state = facts.container === 'none' ? 'preparing' : facts.container;
    counts[state] = (counts[state] ?? 0) + 1;
  }
  return counts;
}

import { mkdir } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { ContentStore, OverlaySnapshotter } from '@berth/image';
import { CliContainerRuntime, SpawnShimLauncher } from '@berth/runtime';
import type { Logger } from 'pino';
import type { StepExecutors } from './attempts/attempt.js';
import { AttemptTable } from './attempts/attempt-table.js';
import { endExecutors } from './attempts/execute-end.js';
import { startExecutors } from './attempts/execute-start.js';
import type { NodeServices } from './attempts/node-services.js';
import { timedExecutors } from './attempts/timed-executors.js';
import type { AgentConfig } from './config.js';
import { bootId, bootTimeNs } from './host/boot.js';
import { claimDirectory } from './host/claim-directory.js';
import { readHostFacts } from './host/host-facts.js';
import { RegistryImageSource } from './images/registry-image-source.js';
import { StopPage } from './lease/stop-page.js';
import { ControlChannel } from './link/control-channel.js';
import { obtainCredential } from './link/credential.js';
import { LogShipper } from './logs/log-shipper.js';
import { AgentMetrics } from './metrics.js';
import { serveMetrics } from './metrics-server.js';
import { findAttempts } from './recovery/find-attempts.js';
import { leftovers, removeCgroupParents, removeLeftovers } from './recovery/leftovers.js';
import { ReportSpool } from './reports/report-spool.js';
import { IdSlots } from './sandbox/id-slots.js';
import { loadSeccompProfile } from './sandbox/seccomp-profile.js';
import { agentVersion } from './version.js';

/** A clean stop that takes the containers along gives each so long before SIGKILL, and all of it so long. */
const stopGraceMs = 5_000;
const stopLimitMs = 12_000;

/** One node's agent, running. */
export class Agent {
  private constructor(
    private readonly config: AgentConfig,
    private readonly node: NodeServices,
    private readonly table: AttemptTable,
    private readonly control: ControlChannel,
    private readonly pages: { readonly server: Server; readonly port: number },
    private readonly release: () => Promise<void>,
  ) {}

  /** Joins where it must, takes up what an earlier agent left, and connects. Throws when this machine cannot hold containers as promised. */
  static async start(config: AgentConfig, log: Logger, signal: AbortSignal): Promise<Agent> {
    await mkdir(join(config.directory, 'containers'), { recursive: true, mode: 0o700 });
    const release = await claimDirectory(config.directory);
    const host = await readHostFacts();
    const seccomp = await loadSeccompProfile(config.nativeDir);
    const credential = await obtainCredential({
      path: join(config.directory, 'credential.json'),
      url: config.url,
      name: config.nodeName,
      joinToken: config.joinToken,
      log,
      signal,
    });

    const boot = bootId();
    const short = credential.nodeId.slice(-8);
    const layerProgram = join(config.nativeDir, 'berth-layer');
    const store = await ContentStore.open({ dir: join(config.directory, 'content'), berthLayerPath: layerProgram });
    const spool = await ReportSpool.open(join(config.directory, 'reports.spool'), log);
    let table: AttemptTable | undefined;
    let control: ControlChannel | undefined;
    const metrics = new AgentMetrics({
      containers: () => countBy(table?.attempts.map(({ facts }) => (facts.container === 'none' ? 'preparing' : facts.container)) ?? []),
      spooledReports: () => spool.size,
      links: () => ({ control: control?.state === 'up', logs: shipper.state === 'up' }),
      disk: () => {
        const { totalBytes, sumOfImagesBytes } = store.usage();
        return { layerBytes: totalBytes, imageBytes: sumOfImagesBytes };
      },
    });
    const link = { url: config.url, credential: credential.credential, log };
    const shipper = new LogShipper({ ...link, onShipped: (bytes) => metrics.logBytes.inc(bytes) });
    const images = new RegistryImageSource(store, (count) => {
      metrics.pulledBytes.inc(count.downloadedBytes);
      metrics.layers.inc({ source: 'cache' }, count.layersHere);
      metrics.layers.inc({ source: 'registry' }, count.layersFetched);
    });
    const runtimeRoot = join(config.runDirectory, 'runtime', short);
    const node: NodeServices = {
      paths: {
        containers: join(config.directory, 'containers'),
        runtimeRoot,
        cgroupParent: `/berth/${short}`,
        runtimeProgram: config.runtimeProgram,
        initProgram: join(config.nativeDir, 'berth-init'),
      },
      bootId: boot,
      host,
      seccomp,
      logMaxBytes: config.logMaxBytes,
      slots: await IdSlots.open(join(config.runDirectory, 'ids'), config.directory),
      spool,
      shipper,
      images,
      snapshotter: new OverlaySnapshotter(join(config.directory, 'snapshots'), layerProgram),
      launcher: new SpawnShimLauncher(join(config.nativeDir, 'berth-shim')),
      runtime: new CliContainerRuntime(config.runtimeProgram, runtimeRoot),
      stopPage: await StopPage.open(config.directory, boot),
      metrics,
      nowNs: bootTimeNs,
      linked: () => control?.state === 'up',
    };

    const executors: StepExecutors = timedExecutors({ ...startExecutors(node), ...endExecutors(node) }, metrics);
    const running = new AttemptTable(node, executors, log);
    table = running;
    const found = await findAttempts(node, executors, log);
    await removeLeftovers(node, new Set(found.map(({ key }) => key)), log);
    for (const attempt of found) running.carry(attempt);

    let toldLayers = '';
    control = new ControlChannel({
      ...link,
      spool,
      stopPage: node.stopPage,
      nowNs: bootTimeNs,
      peer: {
        hello: {
          agentVersion,
          kernel: host.kernel,
          architecture: host.architecture,
          cgroupMode: host.cgroupMode,
          cpuMillis: config.cpuMillis ?? host.cpuMillis,
          memoryBytes: config.memoryBytes ?? host.memoryBytes,
        },
        holds: () => running.holds(),
        changedLayers: () => {
          const layers = images.layers();
          if (layers.join() === toldLayers) return null;
          toldLayers = layers.join();
          return layers;
        },
        welcomed: (welcome) => {
          images.nameRegistries(welcome.registries);
          toldLayers = '';
        },
        assigned: (assignment) => running.assign(assignment),
        stopped: (lease, reason, graceMs) => running.stop(lease, reason, graceMs),
      },
    });
    const channel = control;
    const pages = await serveMetrics(config.metricsPort, {
      metrics: async () => ({ contentType: metrics.registry.contentType, text: await metrics.registry.metrics() }),
      health: () => ({ healthy: channel.state === 'up', detail: `the link to the control plane is ${channel.state}` }),
      images: async () => store.usage(),
      leftovers: () => leftovers(node, config.directory, new Set(running.attempts.map(({ key }) => key))),
    });
    control.start();
    shipper.start();
    return new Agent(config, node, running, control, pages, release);
  }

  get metricsPort(): number {
    return this.pages.port;
  }

  /** Ends the agent. Containers run on, for the next agent to find, unless the configuration takes them along. */
  async stop(): Promise<void> {
    if (this.config.stopContainers) await this.table.stopAll(stopGraceMs, stopLimitMs);
    await this.table.pause();
    await this.control.stop();
    await this.node.shipper.stop();
    await this.node.spool.close();
    this.pages.server.close();
    this.pages.server.closeAllConnections();
    this.node.stopPage.close();
    await removeCgroupParents(this.node);
    await this.release();
  }
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = { preparing: 0, running: 0, exited: 0, deleted: 0 };
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

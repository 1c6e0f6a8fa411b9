import { lookup } from 'node:dns/promises';
import { basename, join } from 'node:path';
import { idRangeOfSlot } from '@berth/core';
import { ContentStore, OverlaySnapshotter } from '@berth/image';
import { ResidentShimLauncher } from '@berth/runtime';
import type { Logger } from 'pino';
import type { NodeServices } from './attempts/node-services.js';
import type { AgentConfig } from './config.js';
import { bootId, bootTimeNs } from './host/boot.js';
import { probeDiskLimit } from './host/disk-limit.js';
import { readHostFacts } from './host/host-facts.js';
import { chooseLayerForm } from './images/choose-layer-form.js';
import { diskSpace } from './images/collection-goal.js';
import { RegistryImageSource } from './images/registry-image-source.js';
import { StopPage } from './lease/stop-page.js';
import type { NodeCredential } from './link/credential.js';
import { LogShipper } from './logs/log-shipper.js';
import { AgentMetrics, type MetricSources } from './metrics.js';
import { Egress, type EgressChoice } from './network/egress.js';
import { ReportSpool } from './reports/report-spool.js';
import { nodeRuntimes } from './runtimes/node-runtimes.js';
import { IdSlots } from './sandbox/id-slots.js';
import { SandboxPool } from './sandbox/sandbox-pool.js';
import { loadSeccompProfile } from './sandbox/seccomp-profile.js';

export interface OpenedNode {
  readonly node: NodeServices;
  readonly images: RegistryImageSource;
  readonly store: ContentStore;
}

/** Opens everything that attempts work with. Throws when this machine cannot hold containers as promised. */
export async function openNode(
  config: AgentConfig,
  { nodeId, credential }: NodeCredential,
  log: Logger,
  sources: Pick<MetricSources, 'containers'> & {
    readonly pooled: MetricSources['poolSandboxes'];
    readonly linked: () => boolean;
    readonly pulled: () => void;
  },
): Promise<OpenedNode> {
  const host = await readHostFacts();
  const seccomp = await loadSeccompProfile(config.nativeDir);
  const boot = bootId();
  const layerProgram = join(config.nativeDir, 'berth-layer');
  const snapshotter = new OverlaySnapshotter(join(config.directory, 'snapshots'), layerProgram);
  const { base, count } = idRangeOfSlot(0);
  const ids = { uidBase: base, uidCount: count };
  const layerForm = await chooseLayerForm(config.snapshotter, log, config.directory, layerProgram, snapshotter, ids);
  const disk = await probeDiskLimit(snapshotter, config.diskLimit);
  if (disk.by === null)
    log.warn({ reasons: disk.reasons }, 'this node bounds no writable layers: runs that ask for diskBytes go elsewhere');
  else log.info({ diskLimit: disk.by, reasons: disk.reasons }, `writable layers are bounded by ${disk.by}`);
  const store = await ContentStore.open({
    dir: join(config.directory, 'content'),
    berthLayerPath: layerProgram,
    form: layerForm,
    bootId: boot,
    onSpoilt: (diffId) => log.warn({ layer: diffId }, 'a layer is not what it was before the machine stopped, and is removed'),
  });
  const spool = await ReportSpool.open(join(config.directory, 'reports.spool'), log);
  const shipper = new LogShipper({ url: config.url, credential, log, onShipped: (bytes) => metrics.logBytes.inc(bytes) });
  const metrics = new AgentMetrics({
    containers: sources.containers,
    spooledReports: () => spool.size,
    links: () => ({ control: sources.linked(), logs: shipper.state === 'up' }),
    disk: () => {
      const { totalBytes, sumOfImagesBytes } = store.usage();
      return { layerBytes: totalBytes, imageBytes: sumOfImagesBytes };
    },
    poolSandboxes: () => sources.pooled(),
    space: () => diskSpace(config.directory),
    diskLimit: () => disk.by,
  });
  const images = new RegistryImageSource(store, (count) => {
    metrics.pulledBytes.inc(count.downloadedBytes);
    metrics.layers.inc({ source: 'cache' }, count.layersHere);
    metrics.savedBytes.inc(count.savedBytes);
    metrics.layers.inc({ source: 'registry' }, count.layersFetched);
    sources.pulled();
  });
  // Several agents may share a machine, its cgroups and its run directory.
  const name = nodeId.slice(-8);
  if (config.egress === null) await Egress.removeLeft(`b${name}`);
  const paths = {
    containers: join(config.directory, 'containers'),
    cgroupParent: `/berth/${name}`,
    initProgram: join(config.nativeDir, 'berth-init'),
  };
  const slots = await IdSlots.open(join(config.runDirectory, 'ids'), config.directory);
  const launcher = new ResidentShimLauncher(config.nativeDir, join(config.runDirectory, 'launcher', name));
  const runtimes = nodeRuntimes(
    Object.assign(new Map(config.runtimes), { default: config.runtimeProgram }),
    join(config.runDirectory, 'runtime', name),
  );
  const egress =
    config.egress === null
      ? null
      : await Egress.open(join(config.nativeDir, 'berth-net'), `b${name}`, await withControlPlane(config.egress, config.url));
  const stopPage = await StopPage.open(config.directory, boot);
  // A runtime that another program stands in for parks nothing.
  const parks = basename(config.runtimeProgram) === 'berth-runtime';
  const pool = new SandboxPool({
    size: parks ? config.poolSandboxes : 0,
    roots: parks ? config.poolRoots : 0,
    rootIdleMs: config.poolRootIdleMs,
    ...paths,
    snapshotter,
    slots,
    launcher,
    runtime: runtimes.default,
    seccomp,
    host,
    egress,
    leaseFile: stopPage.path,
    onTaken: (kind, result) => metrics.pool.taken.inc({ kind, result }),
    onMade: (kind, seconds) => metrics.pool.makeSeconds.observe({ kind }, seconds),
    log,
  });
  const node: NodeServices = {
    paths,
    slots,
    launcher,
    runtimes,
    egress,
    stopPage,
    pool,
    bootId: boot,
    host,
    seccomp,
    logMaxBytes: config.logMaxBytes,
    spool,
    shipper,
    images,
    snapshotter,
    layerForm,
    diskLimit: disk.by,
    metrics,
    nowNs: bootTimeNs,
    linked: sources.linked,
  };
  return { node, images, store };
}

/** Containers never reach Berth's own services, wherever those are. */
async function withControlPlane(choice: EgressChoice, url: string): Promise<EgressChoice> {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  const addresses = await lookup(host, { all: true });
  return { ...choice, denied: [...choice.denied, ...addresses.map(({ address }) => address)] };
}

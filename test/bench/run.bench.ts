/*
 * npm run bench -- run [--iterations 50] [--paced 30] [--seconds 10] [--at-once 8] [--networks none,egress] [--no-samples]
 *
 * From HTTP submission to the exit as the client sees it, of a container whose program is `true`, the image warm: Berth with each kind of network, and
 * `podman run --rm` and `docker run --rm` of the same image from the same registry where they run, in turn. Back to back; paced: Poisson arrivals of two a
 * second, since tight loops hide cold tails; and runs a second with several at once. Berth's time is told by phase: between the timestamps of the run, and
 * on the node by step. PODMAN_RUNTIME names podman's OCI runtime; DOCKER_HOST names the docker daemon. Egress needs nft and changes this network namespace:
 * run it in one of its own (`unshare -n`, its loopback up).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Run } from '@berth/wire';
import { apiClient, ensureTenant } from '#scripts/service/admin-api.mjs';
import { freePorts, LocalService } from '#scripts/service/local-service.mjs';
import { pushBusybox } from '../support/busybox-image.js';
import { docker, type Peer, podman } from './run-peers.js';
import { RunPhases, stepTimes } from './run-phases.js';
import { print, summarize } from './samples.js';

const { values } = parseArgs({
  options: {
    iterations: { type: 'string', default: '50' },
    paced: { type: 'string', default: '30' },
    seconds: { type: 'string', default: '10' },
    'at-once': { type: 'string', default: '8' },
    networks: { type: 'string', default: 'none' },
    'no-samples': { type: 'boolean', default: false },
  },
});
const networks = values.networks.split(',');
if (networks.some((network) => !['none', 'egress'].includes(network)))
  throw new Error('--networks: must be none, egress, or both with a comma between');
const arrivalsPerSecond = 2;

interface Subject extends Peer {
  readonly phases: RunPhases | null;
}

function berth(service: LocalService, network: string): Subject {
  const api = apiClient(service.url, service.keys.tenantKey);
  const phases = new RunPhases();
  const request = { image: 'registry.berth/default/busybox:latest', network, resources: { cpuMillis: 100, memoryBytes: 32 << 20 } };
  const once = async () => {
    const submittedMs = Date.now();
    const { id } = await api.post<Run>('/v1/runs', request);
    const run = await api.get<Run>(`/v1/runs/${id}/wait?timeoutMs=60000`);
    if (run.exitCode !== 0) throw new Error(`${id} ended ${run.state}: ${JSON.stringify(run.failure)}`);
    phases.add(submittedMs, run, Date.now());
  };
  return { name: `berth, network ${network}`, once, phases };
}

async function measure(subjects: readonly Subject[], iterations: number, paced: boolean): Promise<void> {
  const samples = new Map(subjects.map((subject) => [subject, [] as number[]]));
  for (const { phases } of subjects) phases?.clear();
  for (let index = 0; index < iterations; index += 1) {
    for (const [{ once }, measured] of samples) {
      if (paced) await sleep((-Math.log(1 - Math.random()) * 1000) / arrivalsPerSecond);
      const start = performance.now();
      await once();
      measured.push(performance.now() - start);
    }
  }
  for (const [{ name, phases }, measured] of samples) {
    const { samplesMs, ...summary } = summarize(measured);
    print({
      bench: 'run',
      subject: name,
      paced,
      ...summary,
      ...(phases === null ? {} : { phasesP50Ms: phases.medians() }),
      ...(values['no-samples'] ? {} : { samplesMs }),
    });
  }
}

/** Runs a second, `atOnce` callers each beginning the next when the last has ended. */
async function measureRate({ name, once }: Subject, seconds: number, atOnce: number): Promise<void> {
  const start = performance.now();
  let runs = 0;
  const caller = async () => {
    for (; performance.now() - start < seconds * 1000; runs += 1) await once();
  };
  await Promise.all(Array.from({ length: atOnce }, caller));
  print({ bench: 'run', subject: name, atOnce, runs, runsPerSecond: Math.round((runs / (performance.now() - start)) * 1e5) / 100 });
}

const home = mkdtempSync(join(tmpdir(), 'berth-bench-'));
const ports = await freePorts();
const service = new LocalService({ home, ports });
const peers: Peer[] = [];
try {
  await service.start();
  // No container here looks a name up: the address is one of documentation's (RFC 5737).
  await service.startAgent({ env: networks.includes('egress') ? { BERTH_EGRESS: '1', BERTH_EGRESS_DNS: '192.0.2.53' } : {} });
  const tenant = await ensureTenant(service.admin, 'default');
  await service.admin.patch(`/v1/admin/tenants/${tenant.id}`, { features: networks.includes('egress') ? ['network:egress'] : [] });
  await pushBusybox(service.registryUrl, 'default/busybox', service.keys.tenantKey);
  const image = { name: `${new URL(service.registryUrl).host}/default/busybox:latest`, key: service.keys.tenantKey };
  for (const open of [podman, docker]) {
    const found = open(image, home);
    if ('skipped' in found) print({ bench: 'run', ...found });
    else peers.push(found);
  }
  const subjects = [...networks.map((network) => berth(service, network)), ...peers.map((peer) => ({ ...peer, phases: null }))];
  for (const { once } of subjects) await once();
  const before = await stepTimes(ports.agent);
  await measure(subjects, Number(values.iterations), false);
  await measure(subjects, Number(values.paced), true);
  const steps = (await stepTimes(ports.agent)).since(before);
  print({ bench: 'run', subject: 'steps on the node, back to back and paced', meanMs: steps });
  for (const subject of subjects) await measureRate(subject, Number(values.seconds), Number(values['at-once']));
} finally {
  for (const { close } of peers) close?.();
  await service.stop();
  rmSync(home, { recursive: true, force: true });
}

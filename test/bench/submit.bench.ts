/*
 * npm run bench -- submit [--iterations 50] [--paced 30] [--no-samples]
 *
 * From submission to the known exit of a container whose program is `true`, the image warm: Berth over HTTP, and `podman run` of the same image pulled from
 * the same registry, in turn. Back to back, and paced: Poisson arrivals of two a second, since tight loops hide cold tails. PODMAN_RUNTIME names podman's OCI runtime.
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import type { Run } from '@berth/wire';
import { apiClient } from '#scripts/service/admin-api.mjs';
import { freePorts, LocalService } from '#scripts/service/local-service.mjs';
import { pushBusybox } from '../support/busybox-image.js';
import { print, summarize } from './samples.js';

const { values } = parseArgs({
  options: {
    iterations: { type: 'string', default: '50' },
    paced: { type: 'string', default: '30' },
    'no-samples': { type: 'boolean', default: false },
  },
});
const arrivalsPerSecond = 2;

interface Subject {
  readonly name: string;
  readonly once: () => Promise<void>;
}

function berth(service: LocalService): Subject {
  const api = apiClient(service.url, service.keys.tenantKey);
  const request = { image: 'registry.berth/default/busybox:latest', resources: { cpuMillis: 100, memoryBytes: 32 << 20 } };
  const once = async () => {
    const { id } = await api.post<Run>('/v1/runs', request);
    const run = await api.get<Run>(`/v1/runs/${id}/wait?timeoutMs=60000`);
    if (run.exitCode !== 0) throw new Error(`${id} ended ${run.state}: ${JSON.stringify(run.failure)}`);
  };
  return { name: 'berth', once };
}

/** Podman with a store of its own below `home`; null, with the reason printed, where it does not run. */
function podman(service: LocalService, home: string): Subject | null {
  const image = `${service.registryUrl.replace('http://', '')}/default/busybox:latest`;
  const runtime = process.env.PODMAN_RUNTIME ?? 'runc';
  const common = ['--root', join(home, 'store'), '--runroot', join(home, 'run'), '--runtime', runtime, '--cgroup-manager', 'cgroupfs'];
  // Limits below the host's: raising them, as podman would, needs a capability that not every machine's root has.
  const run = [
    ...common,
    'run',
    '--rm',
    '--network',
    'none',
    '--log-driver',
    'none',
    '--ulimit',
    'nofile=1024:1024',
    '--ulimit',
    'nproc=1024:1024',
    '--memory',
    '32m',
    image,
  ];
  try {
    const pull = [...common, 'pull', '--quiet', '--tls-verify=false', '--creds', `bench:${service.keys.tenantKey}`, image];
    for (const args of [pull, run]) execFileSync('podman', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    print({
      bench: 'submit',
      subject: 'podman',
      skipped: String((error as Error).message)
        .trim()
        .split('\n')
        .at(-1),
    });
    return null;
  }
  return { name: 'podman', once: async () => void (await promisify(execFile)('podman', run)) };
}

async function measure(subjects: readonly Subject[], iterations: number, paced: boolean): Promise<void> {
  const samples = new Map(subjects.map(({ name }) => [name, [] as number[]]));
  for (let index = 0; index < iterations; index += 1) {
    for (const { name, once } of subjects) {
      if (paced) await sleep((-Math.log(1 - Math.random()) * 1000) / arrivalsPerSecond);
      const start = performance.now();
      await once();
      samples.get(name)?.push(performance.now() - start);
    }
  }
  for (const [subject, measured] of samples) {
    const { samplesMs, ...summary } = summarize(measured);
    print({ bench: 'submit', subject, paced, ...summary, ...(values['no-samples'] ? {} : { samplesMs }) });
  }
}

const home = mkdtempSync(join(tmpdir(), 'berth-bench-'));
const service = new LocalService({ home, ports: await freePorts() });
try {
  await service.start();
  await service.startAgent();
  await pushBusybox(service.registryUrl, 'default/busybox', service.keys.tenantKey);
  const subjects = [berth(service), podman(service, home)].filter((one) => one !== null);
  for (const { once } of subjects) await once();
  await measure(subjects, Number(values.iterations), false);
  await measure(subjects, Number(values.paced), true);
} finally {
  await service.stop();
  // Podman binds its store upon itself and leaves it so.
  spawnSync('umount', ['--lazy', join(home, 'store/overlay')], { stdio: 'ignore' });
  rmSync(home, { recursive: true, force: true });
}

/*
 * npm run bench -- runtime [--iterations 200] [--paced 60] [--no-samples]
 *
 * `run` of a container whose program is `true`: berth-runtime, crun and runc in turn, the same bundle, and below them the bare clone3 + exec floor.
 * Four configurations, back to back and paced. CRUN and RUNC name other binaries. crun refuses hybrid cgroups, so everything runs in a mount namespace of
 * its own without the machine's second, unified hierarchy.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type BenchConfiguration, benchConfig } from './runtime-config.js';
import { print, summarize } from './samples.js';

const { values } = parseArgs({
  options: {
    iterations: { type: 'string', default: '200' },
    paced: { type: 'string', default: '60' },
    'no-samples': { type: 'boolean', default: false },
  },
});

const root = fileURLToPath(new URL('../../../', import.meta.url));
const native = process.env.BERTH_NATIVE_DIR ?? join(root, 'native/build');
const spawnBench = join(native, 'test/spawn-bench');

interface Peer {
  readonly name: string;
  readonly path: string;
}

function found(name: string, command: string): Peer[] {
  const path = spawnSync('sh', ['-c', `command -v ${command}`], { encoding: 'utf8' }).stdout.trim();
  return path === '' ? [] : [{ name, path }];
}

/** Runs in a private mount namespace, since crun takes a machine with both hierarchies for a broken one. */
function withoutUnified(command: string[]): string {
  const script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"';
  return execFileSync('unshare', ['-m', '--propagation', 'private', 'sh', '-c', script, 'sh', ...command], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

function makeBundle(dir: string, configuration: BenchConfiguration): void {
  const rootfs = join(dir, 'rootfs');
  for (const d of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(rootfs, d), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  symlinkSync('busybox', join(rootfs, 'bin/true'));
  writeFileSync(join(dir, 'config.json'), JSON.stringify(benchConfig(configuration, join(native, '../seccomp/default.json'))));
}

function measure(peers: readonly Peer[], configuration: BenchConfiguration, iterations: number, paceMs: number): void {
  const dir = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  try {
    makeBundle(dir, configuration);
    const commands = peers.flatMap(({ name, path }) => [
      '--',
      name,
      path,
      '--root',
      join(dir, `state-${name}`),
      'run',
      '--bundle',
      dir,
      `${name}-{}`,
    ]);
    const floor = ['floor', join(dir, 'rootfs/bin/busybox'), 'true'];
    const lines = withoutUnified([spawnBench, String(iterations), String(paceMs), '1', ...floor, ...commands]);
    for (const line of lines.trim().split('\n')) {
      const { name, samplesUs, maxRssKiB, failures } = JSON.parse(line) as {
        name: string;
        samplesUs: number[];
        maxRssKiB: number;
        failures: number;
      };
      const { samplesMs, ...summary } = summarize(samplesUs.map((us) => us / 1000));
      const samples = values['no-samples'] ? {} : { samplesMs };
      print({ bench: 'runtime', configuration, paced: paceMs > 0, runtime: name, failures, maxRssKiB, ...summary, ...samples });
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

if (process.getuid?.() !== 0 || !existsSync('/bin/busybox')) {
  console.error('bench runtime needs root and /bin/busybox (Debian: busybox-static)');
  process.exit(1);
}
const peers: Peer[] = [
  { name: 'berth', path: join(native, 'berth-runtime') },
  ...found('crun', process.env.CRUN ?? 'crun'),
  ...found('runc', process.env.RUNC ?? 'runc'),
];
for (const configuration of ['bare', 'seccomp', 'userns', 'netns'] as const) {
  measure(peers, configuration, Number(values.iterations), 0);
  measure(peers, configuration, Number(values.paced), 50);
}

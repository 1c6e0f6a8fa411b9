/*
 * npm run bench -- runtime [--iterations 200] [--paced 60] [--only CONFIGURATION] [--no-samples]
 *
 * `run` of a container whose program does nothing: berth-runtime, crun and runc in turn, the same bundle, and below them the bare clone3 + exec floor.
 * Four configurations, back to back and paced (Poisson, 50 ms in the mean), and what each runtime holds of memory. crun (1.21 or newer, as in Debian 13) and
 * runc are those on PATH, or those that BERTH_BENCH_CRUN and BERTH_BENCH_RUNC name. All run in one mount namespace in which the records stand on a tmpfs,
 * as /run is on a usual machine, and from which a machine's second, unified cgroup hierarchy is gone: crun refuses such machines.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type BenchConfiguration, benchConfig } from './runtime-config.js';
import { type RuntimeMemory, runtimeMemory } from './runtime-memory.js';
import { print, type Summary, summarize } from './samples.js';

const { values } = parseArgs({
  options: {
    iterations: { type: 'string', default: '200' },
    paced: { type: 'string', default: '60' },
    only: { type: 'string' },
    'no-samples': { type: 'boolean', default: false },
  },
});

const root = fileURLToPath(new URL('../../../', import.meta.url));
const native = process.env.BERTH_NATIVE_DIR ?? join(root, 'native/build');
const spawnBench = join(native, 'test/spawn-bench');
const configurations: readonly BenchConfiguration[] = ['bare', 'seccomp', 'userns', 'netns'];
const PACE_MS = 50;
const CRUN_AT_LEAST = [1, 21] as const;

interface Runtime {
  readonly name: string;
  readonly path: string;
  readonly version: string;
}

interface Series {
  readonly name: string;
  readonly samplesUs: number[];
  readonly maxRssKiB: number;
  readonly failures: number;
}

/** The runtime, with its version printed; nothing, with the reason printed, when it cannot be compared with. */
function find(name: string, command: string): Runtime[] {
  const leftOut = (reason: string): Runtime[] => {
    print({ bench: 'runtime', runtime: name, leftOut: reason });
    return [];
  };
  const path = spawnSync('sh', ['-c', 'command -v "$1"', 'sh', command], { encoding: 'utf8' }).stdout.trim();
  if (path === '') return leftOut(`no ${command} on PATH`);
  const version = /version:? (\S+)/.exec(spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout)?.[1] ?? '';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isOld = major < CRUN_AT_LEAST[0] || (major === CRUN_AT_LEAST[0] && minor < CRUN_AT_LEAST[1]);
  if (name === 'crun' && isOld)
    return leftOut(`${path} is ${version}, not ${CRUN_AT_LEAST.join('.')} or newer: name one in BERTH_BENCH_CRUN`);
  print({ bench: 'runtime', runtime: name, path, version });
  return [{ name, path, version }];
}

/** The words that run `command` in the mount namespace that the head of this file describes. */
function apart(stateDir: string, command: readonly string[]): string[] {
  const script = 'umount /sys/fs/cgroup/unified 2>/dev/null; mount -t tmpfs tmpfs "$1" && shift && exec "$@"';
  return ['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', stateDir, ...command];
}

/** A bundle that containers' roots can reach, whoever they are on the host. */
function makeBundle(dir: string, configuration: BenchConfiguration, args: readonly string[]): string {
  const bundle = join(dir, args[0] ?? 'run');
  const rootfs = join(bundle, 'rootfs');
  for (const d of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(rootfs, d), { recursive: true });
  copyFileSync(join(native, 'test/true'), join(rootfs, 'bin/true'));
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(benchConfig(configuration, join(native, '../seccomp/default.json'), args)));
  return bundle;
}

function time(runtimes: readonly Runtime[], bundle: string, stateDir: string, iterations: number, paceMs: number): Series[] {
  const commands = runtimes.flatMap(({ name, path }) => [
    '--',
    name,
    path,
    '--root',
    join(stateDir, name),
    'run',
    '--bundle',
    bundle,
    `${name}-{}`,
  ]);
  const floor = ['floor', join(bundle, 'rootfs/bin/true')];
  const [program = '', ...words] = apart(stateDir, [spawnBench, String(iterations), String(paceMs), '1', ...floor, ...commands]);
  const lines = execFileSync(program, words, { encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'inherit'] });
  return lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Series);
}

function ratio(ours: number, theirs: number): number {
  return Math.round((ours / theirs) * 1000) / 1000;
}

function report(configuration: BenchConfiguration, paced: boolean, series: readonly Series[], memory: Map<string, RuntimeMemory>): void {
  const summaries = new Map<string, Summary>();
  for (const { name, samplesUs, maxRssKiB, failures } of series) {
    const base = { bench: 'runtime', configuration, paced, runtime: name, failures, maxRssKiB, ...memory.get(name) };
    if (samplesUs.length === 0) {
      print(base);
      continue;
    }
    const summary = summarize(samplesUs.map((us) => us / 1000));
    summaries.set(name, summary);
    const { samplesMs, ...figures } = summary;
    print({ ...base, ...figures, ...(values['no-samples'] ? {} : { samplesMs }) });
  }
  const ours = summaries.get('berth');
  for (const peer of ['crun', 'runc']) {
    const theirs = summaries.get(peer);
    if (ours === undefined || theirs === undefined) continue;
    const [mean, p50, p99] = [ratio(ours.meanMs, theirs.meanMs), ratio(ours.p50Ms, theirs.p50Ms), ratio(ours.p99Ms, theirs.p99Ms)];
    print({ bench: 'runtime', configuration, paced, berthTo: peer, mean, p50, p99 });
  }
}

function measure(runtimes: readonly Runtime[], configuration: BenchConfiguration): void {
  const dir = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  try {
    chmodSync(dir, 0o755);
    const stateDir = join(dir, 'state');
    mkdirSync(stateDir);
    const bundle = makeBundle(dir, configuration, []);
    const waiting = makeBundle(dir, configuration, ['wait']);
    const memory = new Map(
      runtimes.map(({ name, path }) => [
        name,
        runtimeMemory(apart(stateDir, [path, '--root', join(stateDir, name), 'run', '--bundle', waiting, `${name}-memory`])),
      ]),
    );
    report(configuration, false, time(runtimes, bundle, stateDir, Number(values.iterations), 0), memory);
    report(configuration, true, time(runtimes, bundle, stateDir, Number(values.paced), PACE_MS), memory);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

if (process.getuid?.() !== 0) {
  console.error('bench runtime needs root');
  process.exit(1);
}
if (values.only !== undefined && !(configurations as readonly string[]).includes(values.only)) {
  console.error(`--only ${values.only}: one of ${configurations.join(', ')}`);
  process.exit(2);
}
if (!existsSync(spawnBench)) {
  console.error(`bench runtime needs ${spawnBench}: make -C native`);
  process.exit(1);
}
const runtimes = [
  ...find('berth', join(native, 'berth-runtime')),
  ...find('crun', process.env.BERTH_BENCH_CRUN ?? 'crun'),
  ...find('runc', process.env.BERTH_BENCH_RUNC ?? 'runc'),
];
for (const configuration of configurations) {
  if (values.only === undefined || values.only === configuration) measure(runtimes, configuration);
}

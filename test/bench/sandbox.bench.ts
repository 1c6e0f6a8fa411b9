/*
 * npm run bench -- sandbox [--iterations 100] [--paced 40] [--at-once 1,4,8] [--idle 200] [--no-samples]
 *
 * A container as the agent starts it, everything on (shim, log, seccomp, capabilities, user and network namespace, limits), of a program that does nothing: from
 * the request to the program's start, and to the exit record. Cold through the launcher, cold by a fork of this process, and by the claim of a container that waits, bare (`pooled`) or with
 * its root (`parked`), in turn, and `crun run` of the same bundle
 * beside them, bare, without a shim or a log, and under conmon, which gives it both; crun is that on PATH, or that BERTH_BENCH_CRUN names. One at a time, back to
 * back and paced (Poisson, 50 ms in the mean), then so many at a time as --at-once says, claims from a pool that was full before. And the private memory of a
 * container that waits, its shim included, while so many of them run.
 *
 * All run in one mount namespace in which the records stand on a tmpfs and from which a machine's second, unified cgroup hierarchy is gone: crun refuses such machines.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  LauncherConnection,
  ParkedShim,
  ResidentShimLauncher,
  ShimDirectory,
  type ShimLauncher,
  ShimSocket,
  SpawnShimLauncher,
} from '@berth/runtime';
import { print, summarize } from './samples.js';
import { privateBytes, SandboxRig } from './sandbox-rig.js';

const { values } = parseArgs({
  options: {
    iterations: { type: 'string', default: '100' },
    paced: { type: 'string', default: '40' },
    'at-once': { type: 'string', default: '1,4,8' },
    idle: { type: 'string', default: '200' },
    'no-samples': { type: 'boolean', default: false },
  },
});
const root = fileURLToPath(new URL('../../../', import.meta.url));
const native = process.env.BERTH_NATIVE_DIR ?? join(root, 'native/build');
const paceMs = 50;
/** After parking, so long before the claim: what parking leaves the kernel to do is not the claim's. */
const settleMs = 10;

/** One way to start a container: when the program ran (null: not told) and when its end was known, in milliseconds after the request. */
type Way = () => Promise<{ readonly startedMs: number | null; readonly endedMs: number }>;

function byShim(rig: SandboxRig, launcher: ShimLauncher): Way {
  return async () => {
    const launch = rig.make([]);
    const began = performance.now();
    await launcher.launch(launch);
    const startedMs = performance.now() - began;
    return { startedMs, endedMs: (await rig.ended(launch)) - began };
  };
}

/** Into a container that was parked before: only the claim is timed, as in a node that had time to fill its pool. */
function byClaim(rig: SandboxRig, launcher: ShimLauncher, how: 'root' | 'bare'): Way {
  return async () => {
    const claim = await park(rig, launcher, how);
    await sleep(settleMs);
    return claim();
  };
}

/** Makes a container that waits; the way is its claim. */
async function park(rig: SandboxRig, launcher: ShimLauncher, how: 'root' | 'bare'): Promise<Way> {
  const launch = rig.make([], how);
  await launcher.park(launch, how);
  const parked = await ParkedShim.hold(new ShimDirectory(launch.directory).socketPath);
  return async () => {
    rig.complete(launch);
    const began = performance.now();
    const { timeoutMs, stopGraceMs, stopSignal, logMaxBytes } = launch;
    await parked.claim({ timeoutMs, stopGraceMs, stopSignal, logMaxBytes, leased: false });
    const startedMs = performance.now() - began;
    return { startedMs, endedMs: (await rig.ended(launch)) - began };
  };
}

function byCrun(rig: SandboxRig, connection: LauncherConnection, stateDir: string): Way {
  return async () => {
    const { bundle, id } = rig.make([]);
    const began = performance.now();
    const end = await connection.run('crun', ['--root', stateDir, 'run', '--bundle', bundle, id], 60_000);
    const endedMs = performance.now() - began;
    rmSync(bundle, { recursive: true, force: true });
    if (end.code !== 0) throw new Error(`crun: ${end.stderr.trim()}`);
    return { startedMs: null, endedMs };
  };
}

/** As podman has it: conmon creates the container and stays with it, `crun start` starts it, and conmon leaves its exit status in a file. */
function byConmon(rig: SandboxRig, connection: LauncherConnection, crun: string, stateDir: string): Way {
  const run = async (program: string, args: readonly string[]): Promise<void> => {
    const end = await connection.run(program, args, 60_000);
    if (end.code !== 0) throw new Error(`${program}: ${end.stderr.trim()}`);
  };
  return async () => {
    const { bundle, id } = rig.make([]);
    const [pidFile, exits] = [join(bundle, 'pid'), join(bundle, 'exits')];
    mkdirSync(exits);
    const began = performance.now();
    await run('conmon', [
      ...[
        '--cid',
        id,
        '--cuuid',
        id,
        '--name',
        id,
        '--bundle',
        bundle,
        '--runtime',
        crun,
        '--runtime-arg',
        '--root',
        '--runtime-arg',
        stateDir,
      ],
      ...[
        '--container-pidfile',
        pidFile,
        '--exit-dir',
        exits,
        '--log-path',
        `k8s-file:${join(bundle, 'log')}`,
        '--socket-dir-path',
        bundle,
      ],
    ]);
    while (!existsSync(pidFile) || statSync(pidFile).size === 0) await sleep(1);
    await run('crun', ['--root', stateDir, 'start', id]);
    const startedMs = performance.now() - began;
    while (!existsSync(join(exits, id))) await sleep(1);
    const endedMs = performance.now() - began;
    await run('crun', ['--root', stateDir, 'delete', id]);
    rmSync(bundle, { recursive: true, force: true });
    return { startedMs, endedMs };
  };
}

function report(way: string, how: object, samples: readonly { startedMs: number | null; endedMs: number }[]): void {
  const series = {
    started: samples.flatMap(({ startedMs }) => (startedMs === null ? [] : [startedMs])),
    ended: samples.map(({ endedMs }) => endedMs),
  };
  for (const [until, samplesMs] of Object.entries(series)) {
    if (samplesMs.length === 0) continue;
    const { samplesMs: each, ...figures } = summarize(samplesMs);
    print({ bench: 'sandbox', way, ...how, until, ...figures, ...(values['no-samples'] ? {} : { samplesMs: each }) });
  }
}

async function inTurn(ways: ReadonlyMap<string, Way>, rounds: number, isPaced: boolean): Promise<void> {
  const samples = new Map([...ways.keys()].map((name) => [name, [] as Awaited<ReturnType<Way>>[]]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, way] of ways) {
      if (isPaced) await sleep(-Math.log(1 - Math.random()) * paceMs);
      samples.get(name)?.push(await way());
    }
  }
  for (const [name, found] of samples) report(name, { atOnce: 1, paced: isPaced }, found);
}

/** `ways` gives the way of each start; it is asked `count` times. */
async function manyAtOnce(name: string, ways: () => Way, count: number, atOnce: number): Promise<void> {
  const samples: Awaited<ReturnType<Way>>[] = [];
  let left = count;
  const began = performance.now();
  const lane = async () => {
    while (left-- > 0) samples.push(await ways()());
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const perSecond = Math.round((count / (performance.now() - began)) * 10_000) / 10;
  report(name, { atOnce, perSecond }, samples);
}

async function idle(rig: SandboxRig, launcher: ShimLauncher, count: number): Promise<void> {
  const launches = Array.from({ length: count }, () => rig.make(['wait']));
  const bytes: { shim: number; container: number }[] = [];
  for (const launch of launches) {
    const { pid } = await launcher.launch(launch);
    const shim = await new ShimDirectory(launch.directory).shim();
    bytes.push({ shim: await privateBytes(shim?.pid ?? 0), container: await privateBytes(pid) });
  }
  const mean = (part: 'shim' | 'container') => Math.round(bytes.reduce((sum, one) => sum + one[part], 0) / count);
  print({ bench: 'sandbox', idle: count, shimPrivateBytes: mean('shim'), containerPrivateBytes: mean('container') });
  for (const launch of launches) await new ShimSocket(new ShimDirectory(launch.directory).socketPath).stop(0);
  for (const launch of launches) await rig.ended(launch);
}

async function measure(directory: string): Promise<void> {
  const rig = new SandboxRig(directory, native);
  // What the launcher may start: the shim, and the peer beside it.
  const programs = join(directory, 'programs');
  mkdirSync(programs);
  for (const name of ['berth-launcher', 'berth-shim']) symlinkSync(join(native, name), join(programs, name));
  const crun = process.env.BERTH_BENCH_CRUN ?? spawnSync('sh', ['-c', 'command -v crun'], { encoding: 'utf8' }).stdout.trim();
  if (crun !== '') symlinkSync(crun, join(programs, 'crun'));
  const resident = new ResidentShimLauncher(programs, join(directory, 'launcher'));
  if ((await resident.pid()) === null) throw new Error('the launcher does not start');
  const connection = await LauncherConnection.open(join(directory, 'launcher/launcher.sock'));
  const ways = new Map<string, Way>([
    ['launcher', byShim(rig, resident)],
    ['pooled', byClaim(rig, resident, 'bare')],
    ['parked', byClaim(rig, resident, 'root')],
    ['fork', byShim(rig, new SpawnShimLauncher(join(native, 'berth-shim')))],
  ]);
  if (crun === '') print({ bench: 'sandbox', way: 'crun', leftOut: 'no crun on PATH' });
  else {
    ways.set('crun', byCrun(rig, connection, join(directory, 'state/crun')));
    const conmon = spawnSync('sh', ['-c', 'command -v conmon'], { encoding: 'utf8' }).stdout.trim();
    if (conmon === '') print({ bench: 'sandbox', way: 'conmon', leftOut: 'no conmon on PATH' });
    else {
      symlinkSync(conmon, join(programs, 'conmon'));
      ways.set('conmon', byConmon(rig, connection, crun, join(directory, 'state/conmon')));
    }
    print({ bench: 'sandbox', way: 'crun', version: spawnSync(crun, ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0] });
  }
  for (const way of ways.values()) await way();
  await inTurn(ways, Number(values.iterations), false);
  await inTurn(ways, Number(values.paced), true);
  const pools = new Map<string, 'root' | 'bare'>([
    ['pooled', 'bare'],
    ['parked', 'root'],
  ]);
  for (const atOnce of values['at-once'].split(',').map(Number)) {
    for (const [name, way] of ways) {
      const count = Number(values.iterations);
      const claims: Way[] = [];
      const how = pools.get(name);
      while (how !== undefined && claims.length < count) claims.push(await park(rig, resident, how));
      await manyAtOnce(name, () => claims.pop() ?? way, count, atOnce);
    }
  }
  await idle(rig, resident, Number(values.idle));
  connection.close();
  await resident.close();
}

if (process.getuid?.() !== 0) {
  console.error('bench sandbox needs root');
  process.exit(1);
}
const given = process.env.BERTH_BENCH_DIRECTORY;
if (given === undefined) {
  const directory = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  chmodSync(directory, 0o711);
  const script = 'umount /sys/fs/cgroup/unified 2>/dev/null; mkdir "$1/state" && mount -t tmpfs tmpfs "$1/state" && shift && exec "$@"';
  const words = ['-m', '--propagation', 'private', 'sh', '-c', script, 'sh', directory, process.execPath, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', words, { stdio: 'inherit', env: { ...process.env, BERTH_BENCH_DIRECTORY: directory } });
  rmSync(directory, { recursive: true, force: true });
  process.exit(status ?? 1);
}
try {
  await measure(given);
} finally {
  for (const hierarchy of readdirSync('/sys/fs/cgroup')) {
    const parent = join('/sys/fs/cgroup', hierarchy, `berth-bench-${process.pid}`);
    // Under the hierarchy that is gone here is a plain folder, in which crun makes plain folders.
    if (hierarchy === 'unified') rmSync(parent, { recursive: true, force: true });
    else if (existsSync(parent)) rmdirSync(parent);
  }
}

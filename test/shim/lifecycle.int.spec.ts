import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  cgroupsOf,
  findProgram,
  initPath,
  isAlive,
  outputOf,
  runtimePath,
  Shim,
  ShimBench,
  sanitized,
  shimPath,
  until,
} from './shim-fixture.js';

let bench: ShimBench;
beforeAll(async () => {
  bench = await ShimBench.open();
});
afterAll(() => bench.close());

/** Whether crun would start here: it refuses machines that mount cgroup v1 and v2 side by side. */
const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
const others = ['runc', ...(unified ? ['crun'] : [])].map(findProgram).filter((path) => path !== undefined);

describe('starting', () => {
  it('prints the container’s pid and start time once the container runs', async () => {
    const before = new Date().toISOString();
    const shim = await bench.start({ command: 'sleep 1000' });
    expect(shim.exitCode).toBe(0);
    expect(shim.answer).toEqual({ pid: expect.any(Number), startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/) });
    expect((shim.answer as { startedAt: string }).startedAt.slice(0, 23) >= before.slice(0, 23)).toBe(true);
    await until(async () => (await readFile(`/proc/${shim.pid}/cmdline`, 'latin1')).includes('sleep\0'));
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });

  it('names itself in shim.json by pid and start time', async () => {
    const shim = await bench.start({ command: 'sleep 1000' });
    const own = JSON.parse(await readFile(join(shim.dir, 'shim.json'), 'utf8'));
    const stat = await readFile(`/proc/${own.pid}/stat`, 'latin1');
    expect(own).toEqual({ pid: await shim.shimPid(), startTime: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]) });
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });

  it('reports the runtime’s own message when the container cannot be created, and leaves nothing', async () => {
    const shim = await bench.attempt({ command: ['/bin/no-such-program'] });
    expect(shim.exitCode).toBe(1);
    expect(shim.answer).toEqual({ error: expect.stringMatching(/no-such-program|no such file/i) });
    expect(readdirSync(shim.dir)).toEqual([]);
    expect(await cgroupsOf(shim.id)).toEqual([]);
  });

  it('passes on any message in one line of JSON, however long and strange', async () => {
    const shim = await bench.attempt({ command: 'true', runtime: `/no/${'\u00ff"\\'.repeat(300)}` });
    expect(shim.exitCode).toBe(1);
    expect((shim.answer as { error: string }).error.length).toBeGreaterThan(200);
  });

  it('says so when the runtime itself cannot be executed', async () => {
    const shim = await bench.attempt({ command: 'true', runtime: '/no/such/runtime' });
    expect(shim.answer).toEqual({ error: expect.stringContaining('/no/such/runtime') });
    expect(readdirSync(shim.dir)).toEqual([]);
  });

  it('leaves a running container alone when a second one claims its name or its directory', async () => {
    const first = await bench.start({ command: 'sleep 1000' });
    const sameName = await bench.attempt({ id: first.id, command: 'sleep 1000' });
    expect(sameName.answer).toEqual({ error: expect.any(String) });
    const sameDir = await bench.attempt({ dir: first.dir, command: 'sleep 1000' });
    expect(sameDir.answer).toEqual({ error: expect.stringMatching(/log.*exists/i) });
    expect(await first.ask({ op: 'status' })).toEqual([{ state: 'running', pid: first.pid }]);
    await first.ask({ op: 'stop', graceMs: 0 });
    expect((await first.ended()).signal).toBe(9);
  });

  it.each([
    [['--id', 'x'], /missing/],
    [['--frobnicate', '1'], /unknown option '--frobnicate'/],
    [['--timeout-ms', '-1'], /--timeout-ms/],
    [['--timeout-ms', '1x'], /--timeout-ms/],
    [['--stop-signal', '65'], /--stop-signal/],
    [['--log-max-bytes'], /wants a value/],
    [
      ['--id', 'x', '--runtime', 'r', '--runtime-root', 'relative', '--bundle', '/b', '--dir', '/d', '--cgroup', '/c'],
      /--runtime-root wants an absolute path/,
    ],
  ])('refuses the command line %j', async (argv, message) => {
    const shim = await new Shim('x', '/', '/', argv).start();
    expect(shim.exitCode).toBe(1);
    expect(shim.answer).toEqual({ error: expect.stringMatching(message) });
  });
});

describe('detachment', () => {
  it('keeps the container through kill -9 of the invoking process', async () => {
    const shim = await bench.prepare({ command: 'sleep 0.5; exit 37' });
    const invoker = shim.spawn();
    // As early as possible: right after the shim proper exists.
    await until(() => existsSync(join(shim.dir, 'shim.json')));
    invoker.kill('SIGKILL');
    expect((await shim.ended()).exitCode).toBe(37);
  });

  it('keeps what a service manager gave its caller from the container', async () => {
    process.env.NOTIFY_SOCKET = '/run/manager';
    try {
      const shim = await bench.start({ command: 'env; ls /run' });
      await shim.ended();
      const output = outputOf(await shim.log(), 'stdout').toString();
      expect(output).toContain('PATH=');
      expect(output).not.toMatch(/NOTIFY|manager/);
    } finally {
      delete process.env.NOTIFY_SOCKET;
    }
  });

  it('leaves its caller’s session, directory, descriptors and output', async () => {
    const shim = await bench.prepare({ command: 'sleep 1000' });
    const script = 'cd "$1"; shift; exec 7<"$1/config.json"; shift; trap "" HUP; exec "$@"';
    const answer = spawnSync('sh', ['-c', script, 'sh', shim.home, shim.home, shimPath, ...shim.argv], { encoding: 'utf8' });
    shim.answer = JSON.parse(answer.stdout);
    const pid = await shim.shimPid();
    expect(await readlink(`/proc/${pid}/cwd`)).toBe('/');
    const stat = (await readFile(`/proc/${pid}/stat`, 'latin1')).split(') ')[1]?.split(' ') ?? [];
    expect(Number(stat[3])).toBe(pid);
    const fds = readdirSync(`/proc/${pid}/fd`).sort((a, b) => Number(a) - Number(b));
    // What it opened for a moment may be gone again.
    const open = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => 'closed')));
    expect(open.filter((path) => path.endsWith('config.json'))).toEqual([]);
    expect(open.slice(0, 3)).toEqual(['/dev/null', '/dev/null', '/dev/null']);
    // What the caller ignored, the container does not.
    const ignored = /SigIgn:\s*(\w+)/.exec(await readFile(`/proc/${shim.pid}/status`, 'latin1'))?.[1];
    expect(BigInt(`0x${ignored}`) & 1n).toBe(0n);
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });

  it('leaves its caller’s cgroup for one that shims share, where the unified hierarchy is mounted', async () => {
    const cgroup = async (pid: number) =>
      (await readFile(`/proc/${pid}/cgroup`, 'latin1')).split('\n').find((line) => line.startsWith('0::'));
    const shims = await Promise.all([1, 2].map(() => bench.start({ command: 'sleep 1000' })));
    for (const shim of shims) {
      const pid = await shim.shimPid();
      if ((await cgroup(process.pid)) !== undefined) await until(async () => (await cgroup(pid)) === '0::/berth-shims');
      await shim.ask({ op: 'stop', graceMs: 0 });
    }
    for (const shim of shims) await shim.ended();
    // Gone with the last of them, unless other shims of this machine are in it.
    const procs = (path: string) => readFile(join(path, 'cgroup.procs'), 'latin1').catch(() => 'gone');
    await until(async () => (await Promise.all((await cgroupsOf('../berth-shims')).map(procs))).every((text) => text !== ''));
  });

  it('survives SIGHUP, SIGTERM, SIGINT and SIGPIPE', async () => {
    const shim = await bench.start({ command: 'sleep 1; exit 4' });
    const pid = await shim.shimPid();
    for (const signal of ['SIGHUP', 'SIGTERM', 'SIGINT', 'SIGPIPE', 'SIGUSR1'] as const) process.kill(pid, signal);
    expect((await shim.ended()).exitCode).toBe(4);
  });
});

describe('the exit record', () => {
  it.each([0, 1, 37, 255])('tells exit code %i', async (code) => {
    const { record } = await bench.runToEnd({ command: `exit ${code}` });
    expect(record).toMatchObject({ exitCode: code, signal: null, oomKilled: false, stoppedBy: null });
    expect(record.finishedAt >= record.startedAt).toBe(true);
  });

  it.each([9, 11, 15])('tells death by signal %i', async (signal) => {
    // In the host's PID namespace, since the first process of one of its own is deaf to all but SIGKILL.
    const shim = await bench.start({ command: 'exec sleep 1000', hostPids: true });
    process.kill(shim.pid, signal);
    expect(await shim.ended()).toMatchObject({ exitCode: null, signal, oomKilled: false, stoppedBy: null });
  });

  it('tells a kill for memory, and the peak and the processor time that led there', async () => {
    const memoryBytes = 32 << 20;
    const { record } = await bench.runToEnd({ command: 'tail /dev/zero', memoryBytes });
    expect(record.oomKilled).toBe(true);
    expect(record.peakMemoryBytes).toBeGreaterThan(memoryBytes / 2);
    expect(record.peakMemoryBytes).toBeLessThanOrEqual(memoryBytes);
    expect(record.cpuTimeUs).toBeGreaterThan(0);
  });

  it('does not call a plain SIGKILL a kill for memory', async () => {
    const shim = await bench.start({ command: 'sleep 1000', memoryBytes: 32 << 20 });
    await shim.ask({ op: 'signal', signal: 9 });
    expect(await shim.ended()).toMatchObject({ signal: 9, oomKilled: false });
  });
});

describe('the end', () => {
  it('leaves the record, the log and nothing else: no process, cgroup, socket or runtime state', async () => {
    const { shim } = await bench.runToEnd({ command: 'echo out; sleep 1000 & exit 0' });
    expect(readdirSync(shim.dir).sort()).toEqual(['exit.json', 'log', 'shim.json']);
    expect(await isAlive(shim.pid)).toBe(false);
    expect(await cgroupsOf(shim.id)).toEqual([]);
    expect(() => execFileSync(runtimePath, ['--root', bench.runtimeRoot, 'state', shim.id], { stdio: 'ignore' })).toThrow();
  });

  it('comes although a process of the container still holds its output open', async () => {
    const shim = await bench.start({
      command: 'setsid sleep 1000 & echo $!; exit 6',
      hostPids: true,
    });
    expect((await shim.ended()).exitCode).toBe(6);
    const survivor = Number(outputOf(await shim.log(), 'stdout'));
    expect(survivor).toBeGreaterThan(0);
    expect(await isAlive(survivor)).toBe(false);
  });

  it('comes although such a process was moved out of the container’s cgroup', async () => {
    const shim = await bench.start({ command: 'setsid sleep 1000 & echo $!; while [ ! -e /tmp/go ]; do sleep 0.05; done', hostPids: true });
    await until(async () => (await shim.log()).length > 0);
    const survivor = Number(outputOf(await shim.log(), 'stdout'));
    for (const path of await cgroupsOf(shim.id)) await writeFile(join(path, '../../cgroup.procs'), String(survivor));
    await writeFile(`/proc/${shim.pid}/root/tmp/go`, '');
    expect((await shim.ended()).exitCode).toBe(0);
    expect(await isAlive(survivor)).toBe(false);
  });

  it('comes although the container’s output never stops', async () => {
    const { record } = await bench.runToEnd({ command: 'yes & sleep 0.2; exit 2', flags: ['--log-max-bytes', '100000'] });
    expect(record.exitCode).toBe(2);
  });
});

describe('runtimes', () => {
  it.each(others)('works with %s', async (runtime) => {
    const { record, log } = await bench.runToEnd({ command: 'echo out; echo err >&2; exit 3', runtime: runtime as string });
    expect(record.exitCode).toBe(3);
    expect(outputOf(log, 'stdout').toString()).toBe('out\n');
    expect(outputOf(log, 'stderr').toString()).toBe('err\n');
  });

  it.each(others)('passes on why %s refuses', async (runtime) => {
    const shim = await bench.attempt({ command: ['/bin/nope'], runtime: runtime as string });
    expect(shim.answer).toEqual({ error: expect.stringMatching(/nope/) });
    expect(readdirSync(shim.dir)).toEqual([]);
  });
});

describe('size', () => {
  it.skipIf(sanitized)('costs under half a megabyte of private memory, floods included, where unsanitized', async () => {
    const shim = await bench.start({
      command: 'dd if=/dev/zero bs=64k count=200 2>/dev/null | tr "\\0" "\\n"; sleep 1000',
      flags: ['--log-max-bytes', '1000000'],
    });
    const pid = await shim.shimPid();
    await until(
      async () =>
        (await shim.ask({ op: 'status' })).length === 1 && Number((await readFile(`/proc/${pid}/stat`, 'latin1')).split(' ')[13]) > 0,
    );
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
    const kib = (name: string) => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(rollup)?.[1]);
    expect(kib('Private_Dirty') + kib('Private_Clean')).toBeLessThan(512);
    await shim.ask({ op: 'stop', graceMs: 0 });
    await shim.ended();
  });
});

describe('descriptors of the container', () => {
  it.each([runtimePath, ...others])('lets a mapped root open /dev/stdout by name, under %s', async (runtime) => {
    const { record, log } = await bench.runToEnd({ command: 'echo by-name > /proc/self/fd/1', mapRootTo: 200000, runtime });
    expect(outputOf(log, 'stderr').toString()).toBe('');
    expect(record.exitCode).toBe(0);
    expect(outputOf(log, 'stdout').toString()).toBe('by-name\n');
  });

  it.each([runtimePath, ...others])('leaves the container the usual file mode mask, under %s', async (runtime) => {
    const { log } = await bench.runToEnd({ command: 'umask', runtime });
    expect(outputOf(log, 'stdout').toString()).toBe('0022\n');
  });

  it('gives the container an empty stdin and no descriptor beyond its three', async () => {
    const { log } = await bench.runToEnd({ command: 'cat; ls /proc/self/fd' });
    // The fourth is the listing's own.
    expect(outputOf(log, 'stdout').toString()).toBe('0\n1\n2\n3\n');
  });
});

describe('berth-init', () => {
  it('reaps orphans, forwards signals and passes the exit code on', async () => {
    const script = 'trap "echo got; exit 21" TERM; (sleep 0.1 &) ; echo pid $$; while true; do sleep 0.1; done';
    const shim = await bench.start({ command: script, init: true });
    expect(await readFile(`/proc/${shim.pid}/cmdline`, 'latin1')).toMatch(/^\/dev\/init\0--\0/);
    await until(async () => outputOf(await shim.log(), 'stdout').length > 0);
    await until(async () => (await zombiesBelow(shim.pid)) === 0);
    await shim.ask({ op: 'stop' });
    expect((await shim.ended()).exitCode).toBe(21);
    expect(outputOf(await shim.log(), 'stdout').toString()).toMatch(/^pid [2-9]\d*\ngot\n$/);
  });

  it.each([
    ['kill -9 $$', 137],
    ['exit 5', 5],
    ['exec /bin/nothing-there', 127],
  ])('ends %j with status %i', async (script, status) => {
    const { record } = await bench.runToEnd({ command: script, init: true });
    expect(record.exitCode).toBe(status);
  });

  it('tells a missing program from one that cannot be executed, and wants its arguments', async () => {
    expect((await bench.runToEnd({ command: ['nothing-there'], init: true })).record.exitCode).toBe(127);
    expect((await bench.runToEnd({ command: ['/plain'], files: { '/plain': Buffer.from('text') }, init: true })).record.exitCode).toBe(126);
    expect(() => execFileSync(initPath, ['true'], { stdio: 'ignore' })).toThrow();
  });
});

async function zombiesBelow(pid: number): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1')).trim().split(' ').filter(Boolean);
  const alive = await Promise.all(children.map((child) => isAlive(Number(child))));
  return alive.filter((yes) => !yes).length;
}

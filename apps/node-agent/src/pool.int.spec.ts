import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { killProcess } from './host/cgroups.js';
import { findShims } from './recovery/find-shims.js';
import { programsOf } from './testing/chaos.js';
import { churn } from './testing/churn.js';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
const withPool = { BERTH_POOL_SANDBOXES: '2', BERTH_POOL_ROOTS: '0' };
const withRoots = { BERTH_POOL_SANDBOXES: '1', BERTH_POOL_ROOTS: '2' };

/** All that a program sees of its container and that another start of the same run must show again. */
const selfReport = [
  'id; hostname; pwd; env | sort; umask; ulimit -a; cat /etc/hosts /etc/hostname /etc/resolv.conf',
  'grep -E "^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Umask|Sig[A-Z]|Shd|Threads)" /proc/self/status',
  'cut -d: -f2- /proc/self/cgroup; cat /proc/self/oom_score_adj; cat /proc/self/gid_map | tr -s " " | cut -d" " -f2,4',
  'cut -d" " -f5-6 /proc/self/mountinfo | sort; cat /proc/net/dev | cut -d: -f1; ls /proc/self/fd /dev; ls -ln / | tr -s " " | cut -d" " -f1,3,4',
  'for f in memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us devices/devices.list; do cat /sys/fs/cgroup/$f 2>/dev/null; done',
  'for f in memory.max pids.max cpu.max cpu.weight; do cat /sys/fs/cgroup/$f 2>/dev/null; done',
].join('; ');

describe.skipIf(missing !== null)(`an agent and its pool of sandboxes${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  const metric = async (name: string): Promise<number> => {
    const text = (await (await node.agent?.fetch('/metrics'))?.text()) ?? '';
    return Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1] ?? 0,
    );
  };
  const isFull = () => eventually(async () => (await metric('berth_agent_pool_sandboxes{kind="bare"}')) === 2, 'two sandboxes wait');
  const roots = (count: number) =>
    eventually(async () => (await metric('berth_agent_pool_sandboxes{kind="root"}')) === count, `${count} wait with their root`);
  const hits = (kind: 'bare' | 'root' = 'bare') => metric(`berth_agent_pool_taken_total{kind="${kind}",result="hit"}`);
  const leftovers = async () => (await node.agent?.fetch('/leftovers'))?.json();
  const shims = () => findShims(`${node.directory}/agent/containers`);

  it('gives a run in one of them exactly what a cold start gives', async () => {
    const spec = {
      command: ['/bin/sh', '-c', selfReport],
      env: { NAME: 'value', OTHER: 'with "quotes"' },
      hostname: 'chosen',
      workingDir: '/tmp',
      user: '1234:567',
      labels: { team: 'x' },
    };
    await node.startAgent();
    const cold = await node.run(spec);
    await node.idle();
    await node.agent?.end('SIGTERM');
    await node.startAgent(withPool);
    await isFull();
    const pooled = await node.run(spec);
    expect(await hits()).toBe(1);
    expect(pooled.output).toBe(cold.output);
    expect(pooled.output).toContain('uid=1234');
    expect(pooled.exit).toMatchObject({ exitCode: cold.exit?.exitCode, stoppedBy: null });
    await node.agent?.end('SIGTERM');
    await node.startAgent(withRoots);
    // Limits, environment, user, name and program come with each run; the first one teaches the pool the root.
    await node.run({ workingDir: '/tmp', command: ['/bin/true'], env: { OTHER_RUN: '1' }, hostname: 'before', user: '7' });
    await roots(2);
    const parked = await node.run(spec);
    expect(await hits('root')).toBe(1);
    expect(parked.output).toBe(cold.output);
    expect(parked.exit).toMatchObject({ exitCode: cold.exit?.exitCode, stoppedBy: null });
    await node.agent?.end('SIGTERM');
    await node.startAgent(withPool);
  });

  it('uses none twice, and leaves nothing of forty runs', async () => {
    await isFull();
    const before = await hits();
    await churn(node, { containers: 40, atOnce: 3 });
    expect(await hits()).toBeGreaterThan(before);
    await node.idle();
    await isFull();
    expect(await leftovers()).toEqual([]);
    expect((await shims()).size).toBe(2);
  });

  it('says why a program cannot run, and stops what runs, as ever', async () => {
    await isFull();
    expect((await node.run({ command: ['/missing'] })).end).toMatchObject({ kind: 'failed', failure: { blame: 'user' } });
    await isFull();
    const endless = node.assignment({ command: ['/bin/sleep', '60'] });
    node.server.assign(endless);
    await node.running(endless);
    node.server.stop(endless, 'canceled', 0);
    expect((await node.ended(endless)).exit).toMatchObject({ signal: 9, stoppedBy: 'request' });
    await isFull();
    expect((await node.run({ command: ['/bin/sleep', '60'], timeoutMs: 300, stopGraceMs: 0 })).exit).toMatchObject({
      stoppedBy: 'timeout',
    });
  });

  it('makes others for those that die', async () => {
    await isFull();
    const old = await shims();
    for (const pids of old.values()) for (const pid of pids) killProcess(pid);
    await eventually(async () => [...(await shims()).keys()].every((directory) => !old.has(directory)), 'they are gone');
    await isFull();
    expect((await node.run('echo fine')).output).toBe('fine\n');
    await eventually(async () => ((await leftovers()) as unknown[]).length === 0, 'nothing of them is left');
  });

  it('has none that outlives it, while what was started in one does', async () => {
    await isFull();
    const running = node.assignment({ command: ['/bin/sh', '-c', 'echo up; sleep 3; exit 9'] });
    node.server.assign(running);
    await node.outputs(running, 'up');
    await isFull();
    await node.agent?.end('SIGKILL');
    await eventually(async () => (await shims()).size === 1, 'only the shim of the run lives');
    await node.startAgent(withPool);
    expect((await node.ended(running)).exit?.exitCode).toBe(9);
    await node.idle();
    await isFull();
    expect(await leftovers()).toEqual([]);
  });

  it('has one that starts as before when its launcher is killed, and takes what waits all the same', async () => {
    await isFull();
    const before = { hits: await hits(), shims: await shims() };
    for (const pid of await programsOf('berth-launcher', `${node.directory}/`)) process.kill(pid, 'SIGKILL');
    const runs = Array.from({ length: 4 }, () => node.assignment({ command: ['/bin/sh', '-c', 'echo once; exit 5'] }));
    for (const run of runs) node.server.assign(run);
    for (const run of runs) expect(await node.ended(run)).toMatchObject({ output: 'once\n', exit: { exitCode: 5 } });
    // What waited was nobody's but the agent's: the launcher takes none of it along.
    expect(await hits()).toBe(before.hits + before.shims.size);
    await node.idle();
    await isFull();
    expect(await leftovers()).toEqual([]);
    expect((await shims()).size).toBe(2);
  });

  describe('that wait with their root', () => {
    const of = (tenant: string, spec: Parameters<TestNode['assignment']>[0]) => ({ ...node.assignment(spec), tenant });
    const run = async (tenant: string, script: string) => {
      const assignment = of(tenant, { command: ['/bin/sh', '-c', script] });
      node.server.assign(assignment);
      return node.ended(assignment);
    };
    const rootNames = async () => (await readdir(`${node.directory}/agent/snapshots`)).filter((name) => name.startsWith('pool-')).sort();

    it('are of one tenant, and are used by one run', async () => {
      await node.agent?.end('SIGTERM');
      await node.startAgent(withRoots);
      await run('one', 'true');
      await roots(2);
      const before = await rootNames();
      expect(before).toHaveLength(2);
      expect((await run('two', 'ls /tmp /dev/shm')).output).not.toContain('left\n');
      expect(await hits('root')).toBe(0);
      await roots(2);
      const traces = 'echo mine > /tmp/left; echo mine > /dev/shm/left; echo 6.6.6.6 other >> /etc/hosts; hostname left';
      for (let index = 0; index < 4; index++) {
        const { output } = await run('one', `ls /tmp /dev/shm; cat /etc/hosts; ${traces}`);
        expect(output).not.toMatch(/left|6\.6\.6\.6/);
        await roots(2);
      }
      expect(await hits('root')).toBeGreaterThan(0);
      await node.idle();
      await roots(2);
      expect(await leftovers()).toEqual([]);
      expect(await rootNames()).toHaveLength(2);
    });

    it('say why a program cannot run, and leave nothing of a run that could not be pulled', async () => {
      await roots(2);
      const refused = of('one', { command: ['/missing'] });
      node.server.assign(refused);
      expect((await node.ended(refused)).end).toMatchObject({ kind: 'failed', failure: { blame: 'user' } });
      await roots(2);
      // Known to the pool under its digest, and named by a registry that there is none of.
      const lost = of('one', { command: ['/bin/true'] });
      lost.image = { ...lost.image, reference: '127.0.0.1:9/none/such' };
      node.server.assign(lost);
      await node.ended(lost);
      await node.idle();
      await roots(2);
      expect(await leftovers()).toEqual([]);
      expect(await rootNames()).toHaveLength(2);
    });

    it('outlive neither their agent nor the last run of their kind for long', async () => {
      await roots(2);
      await node.agent?.end('SIGKILL');
      await eventually(async () => (await shims()).size === 0, 'none lives');
      await node.startAgent({ ...withRoots, BERTH_POOL_ROOT_IDLE_MS: '1500' });
      expect(await rootNames()).toEqual([]);
      await run('one', 'true');
      await roots(2);
      await roots(0);
      await eventually(async () => (await rootNames()).length === 0, 'their filesystems are gone');
      expect(await leftovers()).toEqual([]);
    });
  });
});

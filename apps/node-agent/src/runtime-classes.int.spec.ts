import { chmod, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRuntimes } from './runtimes/node-runtimes.js';
import { processesOf } from './testing/host-state.js';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
const installed = findRuntimes(undefined, `${process.env.PATH}:/usr/sbin:/usr/bin`);
const MiB = 1024 * 1024;

describe.skipIf(missing !== null)(`the runtime classes of an agent${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  const nullOwner = async () => (await stat('/dev/null')).uid;
  let ownerBefore: number;
  const offered = () => node.server.hellos.at(-1)?.features ?? [];

  beforeAll(async () => {
    ownerBefore = await nullOwner();
    node = await TestNode.start();
    // mkdtemp closes it to others, through which these runtimes pass as the container's root.
    await chmod(node.directory, 0o711);
    await node.startAgent({ BERTH_RUNTIME_CLASSES: [...installed].map(([name, program]) => `${name}=${program}`).join() || 'none' });
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  it('are offered where they work, and named with the reason where they do not', () => {
    for (const name of installed.keys()) {
      if (offered().includes(`runtime:${name}`)) continue;
      expect(node.agent?.log).toMatch(new RegExp(`"runtimeClass":"${name}".*"reason":".+not offered`));
      // crun wants cgroup v2 or v1 alone; the others work wherever Berth does.
      expect(name, node.agent?.log).toBe('crun');
    }
  });

  it.each(['runc', 'crun', 'runsc'] as const)('refuse %s where it is not there', async (runtimeClass) => {
    if (installed.has(runtimeClass)) return;
    const { end } = await node.run({ runtimeClass, command: ['/bin/true'] });
    expect(end).toMatchObject({ kind: 'failed', failure: { blame: 'platform', message: `the node has no runtime ${runtimeClass}` } });
  });

  describe.each(['runc', 'crun', 'runsc'] as const)('%s', (runtimeClass) => {
    const program = installed.get(runtimeClass);
    const shell = (script: string) => ({ runtimeClass, command: ['/bin/sh', '-c', script] });
    /** Whether this machine can tell; crun cannot run where cgroups are hybrid. */
    const works = () => offered().includes(`runtime:${runtimeClass}`);

    it.skipIf(program === undefined)('reports exit code and output, and writes to a filesystem of its own', async ({ skip }) => {
      if (!works()) return skip('it does not work on this machine');
      const { exit, output } = await node.run(shell('cat /data/original; echo changed > /data/original; cat /data/original; exit 37'));
      expect(output).toBe('from the layer\nchanged\n');
      expect(exit).toMatchObject({ exitCode: 37, signal: null, stoppedBy: null });
      expect((await node.run(shell('cat /data/original'))).output).toBe('from the layer\n');
    });

    it.skipIf(program === undefined)('is nobody on the host, without a network and within its limits', async ({ skip }) => {
      if (!works()) return skip('it does not work on this machine');
      const assignment = node.assignment(shell('ls /sys/class/net /proc/net/dev >/dev/null; grep -c : /proc/net/dev; echo up; sleep 60'));
      node.server.assign(assignment);
      await node.outputs(assignment, 'up');
      const pids = await processesOf(assignment.runId);
      for (const pid of pids) expect((await stat(`/proc/${pid}`)).uid).not.toBe(0);
      expect(pids.length).toBeGreaterThan(0);
      node.server.stop(assignment, 'canceled', 0);
      const { exit, output } = await node.ended(assignment);
      expect(output).toBe('1\nup\n');
      expect(exit?.stoppedBy).toBe('request');
    });

    it.skipIf(program === undefined)('is told to stop, and made to when its time is up', async ({ skip }) => {
      if (!works()) return skip('it does not work on this machine');
      const assignment = node.assignment(shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"));
      node.server.assign(assignment);
      await node.outputs(assignment, 'up');
      node.server.stop(assignment, 'canceled', 10_000);
      expect((await node.ended(assignment)).exit).toMatchObject({ exitCode: 3, stoppedBy: 'request' });
      const deaf = await node.run({ ...shell("trap '' TERM; while :; do sleep 0.05; done"), timeoutMs: 500, stopGraceMs: 200 });
      expect(deaf.exit).toMatchObject({ stoppedBy: 'timeout', exitCode: null, signal: 9 });
    });

    it.skipIf(program === undefined)('is killed for the memory it takes', async ({ skip }) => {
      if (!works()) return skip('it does not work on this machine');
      const { exit } = await node.run({
        runtimeClass,
        command: ['/bin/dd', 'if=/dev/zero', 'of=/dev/null', 'bs=400M', 'count=1'],
        resources: { cpuMillis: 1000, memoryBytes: 128 * MiB, pids: 100, shmBytes: 64 * 1024 },
      });
      expect(exit).toMatchObject({ oomKilled: true });
      expect(exit?.exitCode).not.toBe(0);
    });

    it.skipIf(program === undefined)('blames the request for a program that is not there, and leaves nothing of it', async ({ skip }) => {
      if (!works()) return skip('it does not work on this machine');
      const { end } = await node.run({ runtimeClass, command: ['/bin/no-such-program'] });
      expect(end).toMatchObject({ kind: 'failed', failure: { code: 'startFailed', blame: 'user' } });
      await eventually(async () => (await node.containers()).length === 0, 'the agent has cleaned up');
      const left = [...(await node.hostState())].filter((name) => name.includes('run_'));
      expect(left).toEqual([]);
    });
  });

  it('leave the machine’s /dev/null to its owner', async () => {
    expect(await nullOwner()).toBe(ownerBefore);
  });

  it('show other users of the machine nothing', async () => {
    const assignment = node.assignment({ command: ['/bin/sleep', '60'] });
    node.server.assign(assignment);
    await node.running(assignment);
    for (const path of ['agent', 'agent/containers', 'agent/snapshots']) {
      expect((await stat(join(node.directory, path))).mode & 0o077, path).toBe(0o011);
    }
    for (const path of ['containers', 'snapshots']) {
      const { mode, uid, gid } = await stat(join(node.directory, 'agent', path, `${assignment.runId}-1`));
      expect(mode & 0o777).toBe(0o710);
      expect([uid, gid > 1_000_000]).toEqual([0, true]);
    }
    node.server.stop(assignment, 'canceled', 0);
    await node.ended(assignment);
  });
});

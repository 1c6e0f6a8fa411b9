import { readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();

describe.skipIf(missing !== null)(`an agent and its launcher${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
    await node.startAgent();
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  /** The live launchers of this node. */
  const launchers = async () => {
    const found: number[] = [];
    for (const name of await readdir('/proc')) {
      if (!/^[0-9]+$/.test(name)) continue;
      const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
      if (line.includes('berth-launcher') && line.includes(`${node.directory}/`)) found.push(Number(name));
    }
    return found;
  };
  const launcher = async () => {
    await eventually(async () => (await launchers()).length === 1, 'there is one launcher');
    return (await launchers())[0] ?? 0;
  };

  it('starts containers through it', async () => {
    const assignment = node.assignment({ command: ['/bin/sleep', '60'] });
    node.server.assign(assignment);
    await node.running(assignment);
    // What is started leaves its starter's session and children, so the launcher is known by what the agent is not: forked.
    expect(await readFile(`/proc/${await launcher()}/environ`, 'utf8')).toMatch(/^PATH=[^\0]*\0?$/);
    node.server.stop(assignment, 'canceled', 0);
    await node.ended(assignment);
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)('starts every container once although it gets %s again and again', async (signal) => {
    const running = node.assignment({ command: ['/bin/sh', '-c', 'echo up; exec sleep 60'] });
    node.server.assign(running);
    await node.outputs(running, 'up');
    const assignments = Array.from({ length: 12 }, () => node.assignment({ command: ['/bin/sh', '-c', 'echo once; exit 5'] }));
    let seed = 7;
    for (const [index, assignment] of assignments.entries()) {
      node.server.assign(assignment);
      // A fixed sequence of pauses puts the signals at different steps of a start.
      seed = (seed * 16_807) % 2_147_483_647;
      await new Promise((resolve) => setTimeout(resolve, seed % 60));
      if (index % 3 === 2) for (const pid of await launchers()) process.kill(pid, signal);
    }
    for (const assignment of assignments) {
      const { exit, output } = await node.ended(assignment);
      expect(output).toBe('once\n');
      expect(exit?.exitCode).toBe(5);
    }
    expect(node.server.reportsOf(running).map(({ kind }) => kind)).toEqual(['preparing', 'running']);
    node.server.stop(running, 'canceled', 0);
    await node.ended(running);
    await node.idle();
    expect(await (await node.agent?.fetch('/leftovers'))?.json()).toEqual([]);
  });

  it('has another one after a moment', async () => {
    for (const pid of await launchers()) process.kill(pid, 'SIGKILL');
    await eventually(async () => (await launchers()).length === 0, 'it is gone');
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect((await node.run('echo again')).output).toBe('again\n');
    expect(await launchers()).toHaveLength(1);
  });

  it('takes it along when it dies', async () => {
    await node.run('true');
    await launcher();
    await node.agent?.end('SIGKILL');
    await eventually(async () => (await launchers()).length === 0, 'it is gone');
    await node.startAgent();
  });
});

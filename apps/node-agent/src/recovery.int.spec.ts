import { execFileSync } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Assignment } from '@berth/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nativeDirectory } from './testing/agent-process.js';
import { processesOf } from './testing/host-state.js';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
const counting = 'i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.05; done; exit 37';
const counted = Array.from({ length: 30 }, (_, index) => `line ${index}\n`).join('');

describe.skipIf(missing !== null)(`an agent that dies, pauses or loses its link${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeEach(async () => {
    node = await TestNode.start();
    await node.startAgent();
  });
  afterEach(async () => {
    expect(await node.close()).toEqual([]);
  });

  const start = async (command: string, spec: Partial<Assignment['spec']> = {}): Promise<Assignment> => {
    const assignment = node.assignment({ command: ['/bin/sh', '-c', command], ...spec });
    node.server.assign(assignment);
    await node.running(assignment);
    return assignment;
  };

  const shimOf = async ({ runId, epoch }: Assignment): Promise<{ readonly pid: number }> =>
    JSON.parse(await readFile(join(node.directory, 'agent/containers', `${runId}-${epoch}`, 'shim/shim.json'), 'utf8'));

  it('takes up a container that ran through its death', async () => {
    const assignment = await start(counting);
    await node.agent?.end('SIGKILL');
    await node.startAgent();
    expect(node.server.hellos.at(-1)?.holds).toEqual([{ runId: assignment.runId, attempt: 1, epoch: 1 }]);
    const { exit, output } = await node.ended(assignment);
    expect(exit).toMatchObject({ exitCode: 37, stoppedBy: null });
    expect(output).toBe(counted);
  });

  it('lets a container go on that it held where it was when it died', async () => {
    const assignment = await start(counting);
    await node.agent?.end('SIGKILL');
    // What the agent does before it reads a container's files, as far as it had come.
    const name = `${assignment.runId}-${assignment.epoch}`;
    await writeFile(join(node.directory, 'agent/containers', name, 'paused'), '');
    const root = join(node.directory, 'run/runtime', node.server.nodeId.slice(-8));
    execFileSync(join(nativeDirectory(), 'berth-runtime'), ['--root', root, 'pause', name]);
    await node.startAgent();
    expect((await node.ended(assignment)).exit).toMatchObject({ exitCode: 37, stoppedBy: null });
  });

  it('reports a container that ended while there was no agent, and its whole log', async () => {
    const assignment = await start(counting);
    await node.agent?.end('SIGKILL');
    await eventually(async () => (await processesOf(assignment.runId)).length === 0, 'the container ends');
    await node.startAgent();
    const { exit, output } = await node.ended(assignment);
    expect(exit).toMatchObject({ exitCode: 37, stoppedBy: null });
    expect(output).toBe(counted);
  });

  it('leaves containers running on a clean stop, and finds them again', async () => {
    const assignment = await start(counting);
    await node.agent?.end('SIGTERM');
    expect(node.agent?.exitCode).toBe(0);
    expect(await processesOf(assignment.runId)).not.toEqual([]);
    await node.startAgent();
    expect((await node.ended(assignment)).exit?.exitCode).toBe(37);
  });

  it('takes its containers along on a clean stop where it is told to', async () => {
    await node.agent?.end('SIGTERM');
    await node.startAgent({ BERTH_AGENT_STOP_CONTAINERS: '1' });
    const assignment = await start("trap '' TERM; while :; do sleep 0.05; done");
    const begun = Date.now();
    await node.agent?.end('SIGTERM');
    expect(Date.now() - begun).toBeLessThan(15_000);
    expect((await node.ended(assignment)).exit).toMatchObject({ signal: 9, stoppedBy: 'request' });
    expect(await node.containers()).toEqual([]);
  });

  it('begins anew, once it is assigned again, what it died over before the start', async () => {
    let open = (): void => {};
    node.registry.gate = new Promise((resolve) => {
      open = resolve;
    });
    const assignment = node.assignment({ command: ['/bin/echo', 'at last'] });
    node.server.assign(assignment);
    await eventually(() => node.registry.blobRequests > 0, 'the pull begins');
    await node.agent?.end('SIGKILL');
    open();
    await node.startAgent();
    expect((await node.ended(assignment)).output).toBe('at last\n');
  });

  it('says so when a container was lost with its shim, and kills what is left of it', async () => {
    const assignment = await start('sleep 60');
    await node.agent?.end('SIGKILL');
    process.kill((await shimOf(assignment)).pid, 'SIGKILL');
    await node.startAgent();
    const { end } = await node.ended(assignment);
    expect(end).toMatchObject({ kind: 'failed', retryable: true, failure: { code: 'internal', blame: 'platform' } });
    await node.idle();
    expect(await processesOf(assignment.runId)).toEqual([]);
  });

  it('sees a shim die under it', async () => {
    const assignment = await start('sleep 60');
    process.kill((await shimOf(assignment)).pid, 'SIGKILL');
    expect((await node.ended(assignment)).end).toMatchObject({ kind: 'failed', failure: { blame: 'platform' } });
  });

  it('sends reports again until they are acknowledged, in order, over breaks and restarts', async () => {
    node.server.reportOutcome = null;
    const assignment = await start('exit 3');
    await node.ended(assignment);
    const once = node.server.deliveriesOf(assignment);
    expect(once.map(({ kind }) => kind)).toEqual(['preparing', 'running', 'exited']);
    node.server.dropLinks();
    await eventually(() => node.server.deliveriesOf(assignment).length === 6, 'the reports come again after a break');
    await node.agent?.end('SIGKILL');
    await node.startAgent();
    await eventually(() => node.server.deliveriesOf(assignment).length >= 9, 'the reports come again after a restart');
    expect(node.server.deliveriesOf(assignment).slice(3, 6)).toEqual(once);
    expect(node.server.deliveriesOf(assignment).slice(6, 9)).toEqual(once);
    node.server.reportOutcome = 'applied';
    node.server.dropLinks();
    await node.idle();
  });

  it('remembers without its spool that it gave an attempt up', async () => {
    node.server.reportOutcome = null;
    let open = (): void => {};
    node.registry.gate = new Promise((resolve) => {
      open = resolve;
    });
    const assignment = node.assignment({ command: ['/bin/true'] });
    node.server.assign(assignment);
    await eventually(() => node.registry.blobRequests > 0, 'the pull begins');
    node.server.stop(assignment, 'canceled', 1000);
    await node.ended(assignment);
    await node.agent?.end('SIGKILL');
    await rm(join(node.directory, 'agent/reports.spool'));
    open();
    node.server.reports.splice(0);
    node.server.reportOutcome = 'applied';
    await node.startAgent();
    expect((await node.ended(assignment)).reports.map(({ kind }) => kind)).toEqual(['stopped']);
  });

  it('starts a later attempt of a run only when the earlier one is gone', async () => {
    const first = await start("trap '' TERM; while :; do sleep 0.05; done");
    const second = { ...first, attempt: 2, epoch: 2, spec: { ...first.spec, command: ['/bin/echo', 'second'] } };
    node.server.withdraw(first);
    // A shim that is held up cannot obey: the first container lives on meanwhile.
    const { pid } = await shimOf(first);
    process.kill(pid, 'SIGSTOP');
    try {
      node.server.assign(second);
      await sleep(2000);
      expect(node.server.reportsOf(second).map(({ kind }) => kind)).toEqual(['preparing']);
      expect(await processesOf(`${first.runId}-1`)).not.toEqual([]);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await node.running(second);
    expect(await processesOf(`${first.runId}-1`)).toEqual([]);
    expect((await node.ended(second)).output).toBe('second\n');
    node.server.send({ type: 'assign', assignments: [first] });
    await node.run('true');
    expect(node.server.reportsOf(first).map(({ kind }) => kind)).toEqual(['preparing', 'running']);
  });

  it('kills a container whose report is stale', async () => {
    node.server.reportOutcome = 'stale';
    const assignment = node.assignment({ command: ['/bin/sleep', '60'] });
    node.server.assign(assignment);
    await eventually(() => node.server.reportsOf(assignment).length > 0, 'the first report comes');
    node.server.withdraw(assignment);
    await node.idle();
    expect(await processesOf(assignment.runId)).toEqual([]);
    expect(node.server.reportsOf(assignment).filter(({ kind }) => kind === 'exited')).toEqual([]);
  });

  it('ships the rest of a log after the link was down', async () => {
    const assignment = await start(counting);
    for (let breaks = 0; breaks < 5; breaks++) {
      node.server.dropLinks();
      await sleep(200);
    }
    expect((await node.ended(assignment)).output).toBe(counted);
  });

  it('keeps a log until all of it is acknowledged', async () => {
    node.server.acknowledgesLogs = false;
    const assignment = await start('echo kept');
    await eventually(() => node.server.reportsOf(assignment).some(({ kind }) => kind === 'exited'), 'the run ends');
    await sleep(300);
    expect(await node.containers()).toEqual([`${assignment.runId}-1`]);
    node.server.acknowledgesLogs = true;
    node.server.dropLinks();
    await node.idle();
    expect((await node.ended(assignment)).output).toBe('kept\n');
  });

  it('stops leased containers when heartbeats go unanswered, and no others', async () => {
    await node.agent?.end('SIGTERM');
    node.server.stopAfterMs = 1500;
    await node.startAgent();
    const leased = await start('while :; do sleep 0.05; done', { onNodeLost: 'retry', stopGraceMs: 200 });
    const waiting = await start('sleep 4; exit 5');
    await sleep(2000);
    expect(await processesOf(leased.runId)).not.toEqual([]);
    node.server.acknowledgesHeartbeats = false;
    const { exit } = await node.ended(leased);
    expect(exit).toMatchObject({ stoppedBy: 'lease' });
    expect((await node.ended(waiting)).exit).toMatchObject({ exitCode: 5, stoppedBy: null });
    node.server.acknowledgesHeartbeats = true;
  });

  it('cannot keep a leased container alive by being paused', async () => {
    await node.agent?.end('SIGTERM');
    node.server.stopAfterMs = 1000;
    await node.startAgent();
    const leased = await start('while :; do sleep 0.05; done', { onNodeLost: 'retry', stopGraceMs: 200 });
    node.agent?.child.kill('SIGSTOP');
    try {
      await eventually(async () => (await processesOf(leased.runId)).length === 0, 'the container stops', 4000);
    } finally {
      node.agent?.child.kill('SIGCONT');
    }
    expect((await node.ended(leased)).exit).toMatchObject({ stoppedBy: 'lease' });
  });

  it('removes what belongs to no attempt when it starts', async () => {
    const assignment = await start('sleep 60');
    await node.agent?.end('SIGKILL');
    const directory = join(node.directory, 'agent/containers', `${assignment.runId}-1`);
    for (const name of ['start.json', 'assignment.json']) await rm(join(directory, name));
    node.server.withdraw(assignment);
    await node.startAgent();
    expect(await processesOf(assignment.runId)).toEqual([]);
    expect(await readdir(join(node.directory, 'agent/containers'))).toEqual([]);
    expect(await (await node.agent?.fetch('/leftovers'))?.json()).toEqual([]);
  });

  it('does not share its directory with another agent', async () => {
    await expect(node.startAgent()).rejects.toThrow(/another agent/);
  });
});

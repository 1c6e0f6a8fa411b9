import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultSpec } from './testing/default-spec.js';
import { processesOf } from './testing/host-state.js';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
const MiB = 1024 * 1024;

describe.skipIf(missing !== null)(`containers of an agent${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
    await node.startAgent();
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  it('says hello, and reports each stage once', async () => {
    const { exit, output, reports } = await node.run('echo hello');
    expect(output).toBe('hello\n');
    expect(exit).toMatchObject({ exitCode: 0, signal: null, oomKilled: false, stoppedBy: null });
    expect(reports.map(({ kind }) => kind)).toEqual(['preparing', 'running', 'exited']);
  });

  it.each([0, 1, 37, 255])('reports exit code %i as the kernel gave it', async (code) => {
    const { exit } = await node.run(`exit ${code}`);
    expect(exit).toMatchObject({ exitCode: code, signal: null });
  });

  it('reports the signal that ended the first process', async () => {
    const assignment = node.assignment({ command: ['/bin/sleep', '60'] });
    node.server.assign(assignment);
    await node.running(assignment);
    const [pid] = await processesOf(assignment.runId);
    process.kill(Number(pid), 'SIGKILL');
    expect((await node.ended(assignment)).exit).toMatchObject({ exitCode: null, signal: 9, oomKilled: false, stoppedBy: null });
  });

  it('tells what a running container wrote, and refuses when it runs no more', async () => {
    const assignment = node.assignment({ command: ['/bin/sh', '-c', 'mkdir /made; echo x > /made/file; echo made; exec sleep 60'] });
    node.server.assign(assignment);
    await node.outputs(assignment, 'made');
    const { runId, attempt, epoch } = assignment;
    const ask = async (id: string) => {
      node.server.send({ type: 'ask', id, lease: { runId, attempt, epoch }, question: { kind: 'changes', max: 100 } });
      await eventually(() => node.server.answers.has(id), 'the node answers');
      return node.server.answers.get(id);
    };
    const changes = [
      { kind: 'A', path: '/made' },
      { kind: 'A', path: '/made/file' },
    ];
    expect(await ask('first')).toEqual({ kind: 'changes', changes: expect.arrayContaining(changes), truncated: false });
    node.server.stop(assignment, 'canceled', 0);
    await node.ended(assignment);
    expect(await ask('second')).toEqual({ kind: 'refused', message: 'the run has no container on its node now' });
  });

  it('says that a container was killed for memory, and how much it had', async () => {
    const { exit } = await node.run({ command: ['/bin/dd', 'if=/dev/zero', 'of=/dev/null', 'bs=200M', 'count=1'] });
    expect(exit).toMatchObject({ signal: 9, oomKilled: true, stoppedBy: null });
    expect(exit?.peakMemoryBytes).toBeGreaterThan(32 * MiB);
    expect(exit?.peakMemoryBytes).toBeLessThanOrEqual(64 * MiB);
  });

  it('counts the cpu time of a container', async () => {
    const { exit } = await node.run('i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done');
    expect(exit?.cpuTimeUs).toBeGreaterThan(8_000);
  });

  it('counts what a container had of cpu, processes and kills, and how long its cpu limit held it up', async () => {
    const { exit } = await node.run({
      command: [
        '/bin/sh',
        '-c',
        '(sleep 0.2 & sleep 0.2 & sleep 0.2 & wait); dd if=/dev/zero of=/dev/null bs=200M count=1; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done',
      ],
      resources: { ...defaultSpec.resources, cpuMillis: 100 },
    });
    expect(exit?.usage).toMatchObject({ oomKills: 1 });
    const { cpuUserUs, cpuSystemUs, cpuPeriods, cpuThrottledPeriods, cpuThrottledUs, peakPids } = exit?.usage ?? {};
    expect(cpuUserUs).toBeGreaterThan(0);
    // Kernels sample what they count apart, and sum exactly.
    expect((cpuUserUs ?? 0) + (cpuSystemUs ?? 0)).toBeGreaterThan((exit?.cpuTimeUs ?? 0) / 2);
    expect(cpuPeriods).toBeGreaterThan(0);
    expect(cpuThrottledPeriods).toBeGreaterThan(0);
    expect(cpuThrottledPeriods).toBeLessThanOrEqual(cpuPeriods ?? 0);
    expect(cpuThrottledUs).toBeGreaterThan(0);
    // Linux counts the most processes of a cgroup since 6.6 (v2), and since 6.11 on v1.
    if (peakPids !== null) expect(peakPids).toBeGreaterThanOrEqual(4);
  });

  it('kills a container that ignores the stop signal when its time is up', async () => {
    const { exit } = await node.run({
      command: ['/bin/sh', '-c', "trap '' TERM; echo deaf; while :; do sleep 0.05; done"],
      timeoutMs: 500,
      stopGraceMs: 300,
    });
    expect(exit).toMatchObject({ signal: 9, stoppedBy: 'timeout' });
  });

  it('gives a stopped container its grace, and reports what it made of it', async () => {
    const assignment = node.assignment({
      command: ['/bin/sh', '-c', "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"],
    });
    node.server.assign(assignment);
    await node.running(assignment);
    await node.outputs(assignment, 'up');
    node.server.stop(assignment, 'canceled', 10_000);
    const { exit, output, reports } = await node.ended(assignment);
    expect(output).toBe('up\nbye\n');
    expect(exit).toMatchObject({ exitCode: 3, stoppedBy: 'request' });
    expect(reports.map(({ kind }) => kind)).toEqual(['preparing', 'running', 'stopping', 'exited']);
  });

  it("stops with the image's own signal", async () => {
    const image = await node.addImage({
      StopSignal: 'SIGUSR1',
      Cmd: ['/bin/sh', '-c', "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done"],
    });
    const assignment = node.assignment({}, image);
    node.server.assign(assignment);
    await node.outputs(assignment, 'up');
    node.server.stop(assignment, 'canceled', 10_000);
    expect((await node.ended(assignment)).exit).toMatchObject({ exitCode: 9, stoppedBy: 'request' });
  });

  it('kills a superseded container and says nothing more of it', async () => {
    const assignment = node.assignment({ command: ['/bin/sh', '-c', "trap '' TERM; while :; do sleep 0.05; done"] });
    node.server.assign(assignment);
    await node.running(assignment);
    node.server.stop(assignment, 'superseded', 10_000);
    await node.idle();
    expect(node.server.reportsOf(assignment).map(({ kind }) => kind)).toEqual(['preparing', 'running']);
    node.server.withdraw(assignment);
  });

  it('runs an assignment once, however often it comes', async () => {
    const assignment = node.assignment({ command: ['/bin/sh', '-c', 'echo once; sleep 0.3'] });
    for (let times = 0; times < 5; times++) node.server.assign(assignment);
    const { output, reports } = await node.ended(assignment);
    expect(output).toBe('once\n');
    await node.idle();
    node.server.send({ type: 'assign', assignments: [assignment] });
    await node.run('true');
    expect(node.server.reportsOf(assignment)).toHaveLength(reports.length);
  });

  it('runs under an init that is process 1 and reaps orphans', async () => {
    const script = 'cat /proc/1/cmdline; echo; echo $$; sh -c "sleep 0.1 &"; sleep 0.4; grep -l " Z " /proc/[0-9]*/stat; exit 5';
    const { exit, output } = await node.run({ command: ['/bin/sh', '-c', script], init: true });
    const [first, pid, ...zombies] = output.trim().split('\n');
    expect(first?.split('\0').slice(0, 2)).toEqual(['/dev/init', '--']);
    expect(Number(pid)).toBeGreaterThan(1);
    expect(zombies).toEqual([]);
    expect(exit?.exitCode).toBe(5);
  });

  it('has a /dev/shm of the size that was asked for', async () => {
    const { output } = await node.run({
      command: [
        '/bin/sh',
        '-c',
        'df -k /dev/shm | grep -c " 2048 "; dd if=/dev/zero of=/dev/shm/x bs=1k count=4096 2>/dev/null; echo $?; stat -c %s /dev/shm/x',
      ],
      resources: { cpuMillis: 1000, memoryBytes: 64 * MiB, pids: 64, shmBytes: 2 * MiB },
    });
    expect(output).toBe(`1\n1\n${2 * MiB}\n`);
  });

  it('knows its own name, and no name server', async () => {
    const { assignment, output } = await node.run(
      'hostname; cat /etc/hostname; grep $(hostname) /etc/hosts; grep -c localhost /etc/hosts; cat /etc/resolv.conf',
    );
    const name = assignment.runId.slice(14, 26);
    expect(output).toBe(`${name}\n${name}\n127.0.0.1\t${name}\n2\n# This container has no network.\n`);
    const named = await node.run({
      command: ['/bin/sh', '-c', 'hostname; echo 10.0.0.1 peer >> /etc/hosts; grep -c peer /etc/hosts'],
      hostname: 'my-name',
    });
    expect(named.output).toBe('my-name\n1\n');
  });

  it('lets root write, copy up, delete and chown, and keeps it all to itself', async () => {
    const change = [
      'id -u',
      'echo changed > /data/original && cat /data/original',
      'rm /data/doomed && ls /data',
      'chown 1000:50 /data/original && chmod 600 /data/original && stat -c "%u:%g %a" /data/original',
      'mkdir /data/new && touch /data/new/file && chown 65535 /data/new/file && stat -c %u /data/new/file',
      'rm -r /tmp && mkdir /tmp && ls -a /tmp | wc -l',
    ].join(' && ');
    const first = await node.run(change);
    expect(first.output).toBe('0\nchanged\noriginal\n1000:50 600\n65535\n2\n');
    const second = await node.run('cat /data/original /data/doomed; stat -c "%u:%g %a" /data/original; ls /data');
    expect(second.output).toBe('from the layer\nto be deleted\n0:0 644\ndoomed\noriginal\n');
  });

  it('keeps a read-only root filesystem read-only', async () => {
    const { output } = await node.run({
      command: ['/bin/sh', '-c', 'exec 2>&1; touch /x; (echo 1 >> /etc/hosts); echo $?; touch /dev/shm/x; echo $?'],
      readOnlyRootfs: true,
    });
    expect(output).toMatch(/touch: \/x: Read-only file system\n.*\/etc\/hosts: Read-only file system\n1\n0\n$/);
  });

  it('is nobody on the host, in a range of its own', async () => {
    const script = 'cat /proc/self/uid_map; sleep 0.5';
    const [one, other] = await Promise.all([node.run(script), node.run(script)]);
    const [, baseOne, countOne] = (one?.output ?? '').trim().split(/\s+/).map(Number);
    const [, baseOther] = (other?.output ?? '').trim().split(/\s+/).map(Number);
    expect(countOne).toBe(65_536);
    expect(baseOne).toBeGreaterThanOrEqual(0x7000_0000);
    expect(Math.abs(Number(baseOne) - Number(baseOther))).toBeGreaterThanOrEqual(65_536);
  });

  it('gives up its privileges: capabilities, seccomp, no_new_privs, loopback alone', async () => {
    const { output } = await node.run(
      'grep -E "^(CapBnd|NoNewPrivs|Seccomp):" /proc/self/status; ls /sys/class/net; dd if=/proc/kcore bs=1 count=1 2>/dev/null | wc -c; echo x > /proc/sys/kernel/domainname',
    );
    expect(output).toContain('CapBnd:\t00000000a80425fb');
    expect(output).toContain('NoNewPrivs:\t1');
    expect(output).toContain('Seccomp:\t2');
    expect(output).toMatch(/\nlo\n0\n/);
    expect(output).toMatch(/domainname: Read-only file system/);
  });

  it('runs as the user whom the image or the run names', async () => {
    const image = await node.addImage({ User: 'app', Cmd: ['/bin/sh', '-c', 'id -u; id -g; id -G; echo $HOME'] });
    expect((await node.run({}, image)).output).toBe('1000\n1000\n1000 50\n/home/app\n');
    const id = (user: string) => node.run({ command: ['/bin/sh', '-c', 'id -u; id -g'], user }, image);
    expect((await id('0')).output).toBe('0\n0\n');
    expect((await id('1234:50')).output).toBe('1234\n50\n');
    for (const user of ['nobody-knows', '65536', '4294967296', '-1', '+1', '0x0', '1:2:3']) {
      expect((await id(user)).end).toMatchObject({ kind: 'failed', retryable: false, failure: { code: 'startFailed', blame: 'user' } });
    }
  });

  it("applies Docker's rules to entrypoint, command, environment and directory", async () => {
    const image = await node.addImage({
      Entrypoint: ['/bin/echo', 'entry'],
      Cmd: ['cmd'],
      Env: ['FROM=image', 'KEEP=image'],
      WorkingDir: '/made/by/the/runtime',
    });
    expect((await node.run({}, image)).output).toBe('entry cmd\n');
    expect((await node.run({ args: ['args'] }, image)).output).toBe('entry args\n');
    expect((await node.run({ command: ['/bin/echo', 'command'] }, image)).output).toBe('command\n');
    const shell = { command: ['/bin/sh', '-c', 'pwd; echo $FROM $KEEP $PATH'], env: { FROM: 'run' } };
    expect((await node.run(shell, image)).output).toBe(
      '/made/by/the/runtime\nrun image /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n',
    );
    expect((await node.run({ ...shell, workingDir: '/data' }, image)).output).toMatch(/^\/data\n/);
  });

  it('blames the run for a command that is not there', async () => {
    const { end } = await node.run({ command: ['/bin/no-such-program'] });
    expect(end).toMatchObject({ kind: 'failed', retryable: false, failure: { code: 'startFailed', blame: 'user' } });
    expect(end.kind === 'failed' && end.failure.message).toContain('/bin/no-such-program');
    expect(end.kind === 'failed' && end.failure.message).not.toContain(node.directory);
  });

  it('limits processes, and its neighbours do not notice', async () => {
    const bomb = node.run({
      command: ['/bin/sh', '-c', 'i=0; while [ $i -lt 50 ]; do sleep 1 & i=$((i+1)); done; wait'],
      resources: { cpuMillis: 500, memoryBytes: 64 * MiB, pids: 16, shmBytes: MiB },
    });
    const neighbour = await node.run('sleep 0.2 & wait; echo fine');
    expect(neighbour.output).toBe('fine\n');
    expect((await bomb).output).toContain("can't fork");
  });

  it('leaves nothing behind, whatever became of each of twenty runs', async () => {
    const scripts = ['exit 0', 'exit 1', 'sleep 100 & exit 0', 'mkdir -p /a/b/c; touch /a/b/c/d', 'kill -9 $$; exit 2'];
    const round = async () => {
      await Promise.all(Array.from({ length: 20 }, (_, index) => node.run(scripts[index % scripts.length] ?? '')));
      await node.idle();
    };
    const descriptors = async () => (await readdir(`/proc/${node.agent?.child.pid}/fd`)).length;
    // The first round fills the pools that an agent keeps, such as connections to the registry.
    await round();
    const before = { state: await node.hostState(), descriptors: await descriptors() };
    await round();
    expect(await (await node.agent?.fetch('/leftovers'))?.json()).toEqual([]);
    expect([...(await node.hostState())].filter((thing) => !before.state.has(thing))).toEqual([]);
    // The lower of an image without layers and the place of layers' mounts, which the agent's first look at its machine made.
    expect(await readdir(join(node.directory, 'agent/snapshots'))).toEqual(['.empty', '.layers', '.spare']);
    expect(await readdir(join(node.directory, 'agent/snapshots/.layers'))).toEqual([]);
    // A connection that is still closing is none that was left.
    await eventually(async () => (await descriptors()) <= before.descriptors + 3, 'the agent closes its descriptors');
  });

  it('shows what it does at its metrics port', async () => {
    const text = await (await node.agent?.fetch('/metrics'))?.text();
    expect(text).toMatch(/berth_agent_link_up\{channel="control"\} 1/);
    expect(text).toMatch(/berth_agent_attempts_ended_total\{kind="exited"\} [1-9]/);
    expect(text).toMatch(/berth_agent_start_seconds_count\{phase="startContainer"\} [1-9]/);
    expect(text).toMatch(/berth_agent_layers_total\{source="cache"\} [1-9]/);
    expect(text).toMatch(/berth_agent_pull_saved_bytes_total [1-9]\d{3}/);
    expect(await (await node.agent?.fetch('/healthz'))?.json()).toMatchObject({ healthy: true });
    const images = (await (await node.agent?.fetch('/images'))?.json()) as { sumOfImagesBytes: number; totalBytes: number };
    expect(images.sumOfImagesBytes).toBeGreaterThan(images.totalBytes);
  });

  it('keeps its credential to itself', async () => {
    const kept = JSON.parse(await readFile(join(node.directory, 'agent/credential.json'), 'utf8')) as { credential: string };
    expect(kept.credential).toMatch(/^bnode_/);
    expect(node.agent?.log).not.toContain(kept.credential);
  });
});

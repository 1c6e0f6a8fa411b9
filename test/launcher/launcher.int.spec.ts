import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LauncherConnection, LauncherLost } from '@berth/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const program = join(process.env.BERTH_NATIVE_DIR ?? fileURLToPath(new URL('../../../native/build', import.meta.url)), 'berth-launcher');
const missing = existsSync(program) ? null : 'needs native/build/berth-launcher';
const timeoutMs = process.env.BERTH_TEST_MACHINE === 'qemu' ? 60_000 : 10_000;

describe.skipIf(missing !== null)(`the launcher${missing === null ? '' : ` (${missing})`}`, () => {
  let directory: string;
  let child: ChildProcess;
  let connection: LauncherConnection;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-launcher-'));
    await script('say', 'printf "%s," "$@"; echo oops >&2; exit 3');
    child = spawn(program, ['--socket', join(directory, 's'), '--programs', directory], {
      env: { PATH: process.env.PATH, ONLY: 'this' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    connection = await LauncherConnection.open(join(directory, 's'));
  });
  afterEach(async () => {
    connection.close();
    child.stdin?.end();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    await rm(directory, { recursive: true, force: true });
  });

  const script = (name: string, text: string) => writeFile(join(directory, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  const run = (name: string, ...args: string[]) => connection.run(name, args, timeoutMs);

  it('starts programs and tells how each ended and what it said', async () => {
    expect(await run('say', 'a b', '', 'c"\n')).toEqual({ code: 3, stdout: 'a b,,c"\n,', stderr: 'oops\n' });
    await script('die', 'kill -9 $$');
    expect((await run('die')).code).toBeNull();
  });

  it('starts many at a time, more than it has places for, and mixes up none', async () => {
    await script('echo-slowly', 'sleep 0.1; echo $1');
    const ends = await Promise.all(Array.from({ length: 100 }, (_, index) => run('echo-slowly', String(index))));
    expect(ends.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 100 }, (_, index) => `${index}\n`));
  });

  it('gives a program nothing of its own but its environment', async () => {
    await script('look', 'ls /proc/self/fd; env | grep ONLY; cat; ps -o sid= -p $$ | tr -d " "; echo $$; grep SigBlk /proc/self/status');
    const [fds, rest] = (await run('look')).stdout.split('ONLY=this\n');
    // ls itself has the directory open.
    expect(fds?.trim().split('\n')).toEqual(['0', '1', '2', '3']);
    const [sid, pid, blocked] = rest?.trim().split('\n') ?? [];
    expect(sid).toBe(pid);
    expect(blocked).toMatch(/0000000000000000$/);
  });

  it('cuts short what says too much, and does not wait for whoever keeps its output open', async () => {
    await script('flood', 'head -c 1000000 /dev/zero | tr "\\0" x');
    expect((await run('flood')).stdout).toBe('x'.repeat(16_384));
    await script('leave', 'sleep 5 & echo gone');
    const began = Date.now();
    expect((await run('leave')).stdout).toBe('gone\n');
    expect(Date.now() - began).toBeLessThan(4_000);
  });

  it.each(['../bin/sh', '/bin/sh', '.', '', 'no-such-program'])('refuses to start %j', async (name) => {
    await expect(run(name)).rejects.toThrow();
    expect((await run('say')).code).toBe(3);
  });

  it('refuses what is no request, and serves on', async () => {
    const socket = connect(join(directory, 's')).setEncoding('utf8');
    let heard = '';
    socket.on('data', (text: string) => {
      heard += text;
    });
    socket.write('not json\n{"id":1}\n{"id":2,"program":"say","args":[1]}\n');
    while (heard.split('\n').length < 4) await sleep(10);
    expect(
      heard
        .split('\n')
        .slice(0, 3)
        .map((line) => JSON.parse(line).error),
    ).toEqual([expect.any(String), 'program must be the bare name of one', 'args must be strings']);
    socket.destroy();
    expect((await run('say')).code).toBe(3);
  });

  it('takes a line with NULs in it for one line, and the next for the next', async () => {
    const socket = connect(join(directory, 's')).setEncoding('utf8');
    let heard = '';
    socket.on('data', (text: string) => {
      heard += text;
    });
    socket.write('{"id":1}\0{"id":2}\n{"id":3,"program":"say","args":[]}\n');
    while (heard.split('\n').length < 4) await sleep(10);
    const [refusal, start, end] = heard.split('\n').map((line) => (line === '' ? {} : JSON.parse(line)));
    expect(refusal.error).toEqual(expect.any(String));
    expect([start.id, end.id, end.code]).toEqual([3, 3, 3]);
    socket.destroy();
  });

  it('listens for its own user alone', async () => {
    expect((await stat(join(directory, 's'))).mode & 0o777).toBe(0o600);
  });

  it('ends with the agent, and leaves running what it has started', async () => {
    await script('stay', `echo $$ > ${directory}/pid; exec sleep 30`);
    const waiting = run('stay').catch((error: unknown) => error);
    while (!existsSync(join(directory, 'pid')) || (await readFile(join(directory, 'pid'), 'utf8')) === '') await sleep(10);
    child.stdin?.end();
    await once(child, 'exit');
    expect(await waiting).toBeInstanceOf(LauncherLost);
    const pid = Number(await readFile(join(directory, 'pid'), 'utf8'));
    expect(process.kill(pid, 0)).toBe(true);
    process.kill(pid, 'SIGKILL');
  });

  it('counts as lost when it is stuck', async () => {
    child.kill('SIGSTOP');
    await expect(run('say')).rejects.toThrow(LauncherLost);
    child.kill('SIGKILL');
  });
});

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { asHostRoot, eventually, nativeDir, reportOf, TestBundle } from './bundle.js';

/** Where the runtime is told to find the host's socket; the container finds a directory there, and its own socket in it. */
let host: string;
let bundle: TestBundle;
let manager: ChildProcess;
let heard = '';
beforeEach(async () => {
  bundle = new TestBundle();
  heard = '';
  host = join(bundle.dir, 'host.sock');
  manager = spawn(join(nativeDir, 'test/datagrams'), [host], { stdio: ['ignore', 'pipe', 'inherit'] });
  manager.stdout?.on('data', (text) => {
    heard += text;
  });
  await eventually(() => existsSync(host), 'the host listens');
});
afterEach(async () => {
  manager.kill('SIGKILL');
  await once(manager, 'exit');
  bundle.dispose();
});

const runtime = (args: string[], socket = host) => bundle.runtime(args, { env: { ...process.env, NOTIFY_SOCKET: socket } });
const run = (program: string[], ...options: string[]) => {
  bundle.write(bundle.config(program));
  return runtime(['run', ...options, '--bundle', bundle.dir, bundle.id]);
};
const own = (): string => join(host, 'notify');

it('hands on that the container is ready, and nothing else that it says', async () => {
  const sends = ['STATUS=x', 'WATCHDOG=1', 'MAINPID=1', 'NOTREADY=1', 'READY=10', 'x'.repeat(5000), 'STATUS=up\nREADY=1\nMAINPID=1'];
  const again = ['send', own(), 'READY=1'];
  const outcome = run([...sends.flatMap((text) => ['send', own(), text]), ...again, 'exit', '3']);
  expect(outcome.stderr).toBe('');
  expect(outcome.status).toBe(3);
  const taken = outcome.lines.map(({ ok }) => ok);
  expect(taken).toHaveLength(sends.length + 1);
  // Nobody need listen once the container is ready: what is sent then may be refused.
  expect(taken.slice(0, -1)).toEqual(sends.map(() => true));
  await eventually(() => heard !== '', 'the host hears of it');
  expect(heard).toBe('READY=1\n');
});

it('is told to the program in place of any other', () => {
  const config = bundle.config(['report', 'create', join(host, 'x'), 'y']);
  config.process.env = ['NOTIFY_SOCKET=/elsewhere', 'A=b'];
  bundle.write(config);
  const outcome = runtime(['run', '--bundle', bundle.dir, bundle.id]);
  expect(reportOf(outcome).env.filter((entry) => entry.startsWith('NOTIFY'))).toEqual([`NOTIFY_SOCKET=${own()}`]);
  expect(outcome.lines.at(-1)).toMatchObject({ ok: false, error: 'EROFS' });
});

it('tells the main process to a host that would not know it, at the start and after a detached run', async () => {
  const detached = run(['send', own(), 'READY=1', 'wait'], '--detach');
  expect(detached.stderr).toBe('');
  const state = () => JSON.parse(bundle.runtime(['state', bundle.id]).stdout) as { pid: number };
  await eventually(() => heard.includes('BARRIER'), 'the host hears of the first');
  expect(heard).toBe(`MAINPID=${state().pid} READY=1\nBARRIER=1\n`);
  bundle.runtime(['delete', '--force', bundle.id]);
  heard = '';
  expect(runtime(['create', '--bundle', bundle.dir, bundle.id]).stderr).toBe('');
  expect(heard).toBe('');
  expect(runtime(['start', bundle.id]).stderr).toBe('');
  await eventually(() => heard.includes('BARRIER'), 'the host hears of the second');
  expect(heard).toBe(`MAINPID=${state().pid} READY=1\nBARRIER=1\n`);
});

it('is waited for no longer than the container lives, and leaves nothing', () => {
  expect(run(['exit', '0'], '--detach').status).toBe(0);
  expect(bundle.runtime(['delete', bundle.id]).stderr).toBe('');
  expect(run(['exit', '4']).status).toBe(4);
  const config = bundle.config(['wait']);
  asHostRoot(config);
  bundle.write(config);
  expect(runtime(['create', '--bundle', bundle.dir, bundle.id]).stderr).toBe('');
  expect(bundle.runtime(['delete', '--force', bundle.id]).stderr).toBe('');
  expect(readdirSync(bundle.stateRoot)).toEqual([]);
  expect(heard).toBe('');
});

it('is refused where the container could not find it', () => {
  for (const socket of ['@abstract', 'relative/path']) {
    bundle.write(bundle.config(['exit', '0']));
    const { status, stderr } = runtime(['run', '--bundle', bundle.dir, bundle.id], socket);
    expect(status).not.toBe(0);
    expect(stderr).toContain(`NOTIFY_SOCKET=${socket}: it must be an absolute path`);
  }
});

it('needs no host that listens', () => {
  bundle.write(bundle.config(['send', '/run/none/notify', 'READY=1', 'exit', '5']));
  const { status, stderr } = runtime(['run', '--bundle', bundle.dir, bundle.id], '/run/none');
  expect(status).toBe(5);
  expect(stderr).toContain('tell /run/none that the container is ready');
});

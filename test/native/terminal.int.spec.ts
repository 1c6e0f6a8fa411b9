import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually, nativeDir, type OciConfig, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const withTerminal = (config: OciConfig): void => {
  config.process.terminal = true;
  config.process.consoleSize = { width: 91, height: 17 };
};

it('gives a terminal of the container’s own to the engine, and to the program as stdio and /dev/console', async () => {
  const socket = join(bundle.dir, 'console.sock');
  const config = bundle.config([
    'report',
    'stat',
    '/dev/console',
    'write',
    '/dev/console',
    'by the console\n',
    'write',
    '/dev/tty',
    'by the tty\n',
  ]);
  withTerminal(config);
  bundle.write(config);
  const engine = spawn(join(nativeDir, 'test/console-engine'), [socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  engine.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const closed = new Promise((done) => engine.once('close', done));
  await eventually(() => text.includes('listening'), 'listening');
  expect(bundle.runtime(['create', '--bundle', bundle.dir, '--console-socket', socket, bundle.id])).toMatchObject({
    status: 0,
    stderr: '',
  });
  expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
  await closed;
  expect(text).toContain('size 17 91');
  const [report, stat] = text
    .split(/\r?\n/)
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  expect(Object.values(report.fds)).toEqual(['/dev/pts/0', '/dev/pts/0', '/dev/pts/0']);
  expect(stat).toMatchObject({ ok: true, major: 136, minor: 0, uid: 0 });
  expect(text).toContain('by the console\r\n');
  expect(text).toContain('by the tty\r\n');
});

it('is refused where nobody takes it, or nobody asked for one', () => {
  const nobody = join(bundle.dir, 'nobody.sock');
  const config = bundle.config(['exit', '0']);
  bundle.write(config);
  expect(bundle.runtime(['create', '-b', bundle.dir, '--console-socket', nobody, bundle.id]).stderr).toContain(
    'is for a detached container with process.terminal',
  );
  withTerminal(config);
  bundle.write(config);
  expect(bundle.runtime(['create', '-b', bundle.dir, '--console-socket', nobody, bundle.id]).stderr).toContain(
    'connect to the console socket',
  );
  for (const command of [['create'], ['run', '--detach']]) {
    expect(bundle.runtime([...command, '-b', bundle.dir, bundle.id]).stderr).toContain('process.terminal needs --console-socket');
  }
  expect(bundle.leftovers()).toEqual([]);
});

it('gives a pidfd of each process to an engine that asks for one', async () => {
  bundle.write(bundle.config(['wait']));
  const takes = async (args: (socket: string) => string[]): Promise<void> => {
    const socket = join(bundle.dir, `${args.length}-${Math.random()}.sock`);
    const engine = spawn(join(nativeDir, 'test/console-engine'), [socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((done) => engine.once('close', done));
    await new Promise((done) => engine.stdout.once('data', done));
    expect(bundle.runtime(args(socket))).toMatchObject({ status: 0, stderr: '' });
    expect(await ended).toBe(0);
  };
  const status = () => JSON.parse(bundle.runtime(['state', bundle.id]).stdout).status as string;
  for (const command of [['create'], ['run', '--detach']]) {
    await takes((socket) => [...command, '--bundle', bundle.dir, '--pidfd-socket', socket, bundle.id]);
    await eventually(() => status() === 'stopped', 'the engine has ended the container');
    bundle.runtime(['delete', bundle.id]);
  }
  bundle.create(['wait']);
  bundle.runtime(['start', bundle.id]);
  await takes((socket) => ['exec', '--detach', '--pidfd-socket', socket, bundle.id, '/probe', 'wait']);
  await eventually(
    () => bundle.runtime(['ps', '--format', 'json', bundle.id]).stdout.trim().split(',').length === 1,
    'it has ended the process',
  );
  expect(status()).toBe('running');
  const nobody = bundle.runtime(['exec', '--detach', '--pidfd-socket', join(bundle.dir, 'nobody'), bundle.id, '/probe', 'wait']);
  expect(nobody.stderr).toContain('connect to the pidfd socket');
  expect(bundle.runtime(['ps', '--format', 'json', bundle.id]).stdout.trim().split(',')).toHaveLength(1);
});

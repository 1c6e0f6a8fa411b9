import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, eventually, nativeDir, type OciConfig, reportOf, statusField, TestBundle } from './bundle.js';

let bundle: TestBundle;
let listener: ChildProcess | undefined;
let heard = '';
beforeEach(() => {
  bundle = new TestBundle();
  heard = '';
});
afterEach(async () => {
  bundle.dispose();
  if (listener && listener.exitCode === null && listener.signalCode === null) {
    listener.kill('SIGKILL');
    await once(listener, 'exit');
  }
});

const GETPPID = ['syscall', 'x86_64', '110', '0', '0', '0'];

/** Starts a listener for `count` processes, and gives the config its address. */
async function listen(count: number): Promise<(config: OciConfig) => void> {
  const listenerPath = join(bundle.dir, 'listener.sock');
  listener = spawn(join(nativeDir, 'test/listener'), [listenerPath, `${count}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  listener.stdout?.on('data', (data) => {
    heard += data;
  });
  await eventually(() => existsSync(listenerPath), 'the listener listens');
  return (config) => {
    config.annotations = { 'org.example.who': 'me' };
    config.linux.seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_AARCH64'],
      flags: ['SECCOMP_FILTER_FLAG_TSYNC'],
      listenerPath,
      listenerMetadata: 'for you',
      syscalls: [{ names: ['getppid', 'mkdir', 'sendmsg', 'wait4', 'setresuid', 'execve'], action: 'SCMP_ACT_NOTIFY' }],
    };
  };
}
const messages = (): Record<string, unknown>[] =>
  heard
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

describe('a seccomp listener', () => {
  it.each([true, false])('is told of the process and decides on its syscalls, with no_new_privs %s', async (noNewPrivileges) => {
    const change = await listen(1);
    const outcome = bundle.run([...GETPPID, 'mkdir', '/dir', 'read', '/proc/self/status'], (config) => {
      change(config);
      config.process.noNewPrivileges = noNewPrivileges;
    });
    expect(outcome.stderr).toBe('');
    expect(outcome.lines[0]).toMatchObject({ result: 4242 });
    expect(outcome.lines[1]).toMatchObject({ ok: false, error: 'EDOM' });
    expect(statusField(String(outcome.lines[2]?.text), 'Seccomp_filters')).toBe('1');
    await eventually(() => heard.endsWith('\n'), 'the listener has heard');
    const [message] = messages();
    expect(message).toMatchObject({
      ociVersion: '1.0.2',
      fds: ['seccompFd'],
      metadata: 'for you',
      state: { id: bundle.id, status: 'creating', bundle: bundle.dir, annotations: { 'org.example.who': 'me' } },
    });
    expect(message).toHaveProperty('state.pid', message?.pid);
    expect(message?.pid).toBeGreaterThan(1);
  });

  it('is told of a process of exec too, and neither has a descriptor of it', async () => {
    const change = await listen(2);
    bundle.create(['wait'], (config) => {
      asHostRoot(config);
      change(config);
    });
    expect(bundle.runtime(['start', bundle.id]).stderr).toBe('');
    const outcome = bundle.runtime(['exec', bundle.id, '/probe', 'report', ...GETPPID]);
    expect(outcome.stderr).toBe('');
    expect(Object.keys(reportOf(outcome).fds).sort()).toEqual(['0', '1', '2']);
    expect(outcome.lines[1]).toMatchObject({ result: 4242 });
    await eventually(() => messages().length === 2, 'the listener has heard twice');
    expect(messages()[1]).toMatchObject({ state: { status: 'running', pid: bundle.pid() } });
    expect(messages()[1]?.pid).not.toBe(bundle.pid());
  });

  it('may ask to be waited for, and the same flag is passed over in a filter without one', async () => {
    const flags = ['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'];
    const change = await listen(1);
    const outcome = bundle.run(GETPPID, (config) => {
      change(config);
      Object.assign(config.linux.seccomp ?? {}, { flags });
    });
    expect(outcome.stderr).toBe('');
    expect(outcome.lines[0]).toMatchObject({ result: 4242 });
    const unheard = bundle.run(['read', '/proc/self/status'], (config) => {
      config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW', flags, syscalls: [{ names: ['mq_unlink'], action: 'SCMP_ACT_ERRNO' }] };
    });
    expect(unheard.stderr).toBe('');
    expect(statusField(String(unheard.lines[0]?.text), 'Seccomp_filters')).toBe('1');
  });

  it('must be there', () => {
    const rule = { names: ['getppid'], action: 'SCMP_ACT_NOTIFY' };
    const run = (seccomp: Record<string, unknown>) =>
      bundle.run(['exit', '0'], (config) => {
        config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule], ...seccomp };
      }).stderr;
    expect(run({})).toContain('SCMP_ACT_NOTIFY needs listenerPath');
    expect(run({ listenerPath: '/nowhere/sock' })).toContain('connect to seccomp listenerPath /nowhere/sock');
    expect(bundle.leftovers()).toEqual([]);
  });
});

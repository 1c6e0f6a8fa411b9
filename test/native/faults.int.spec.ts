import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, eventually, nativeDir, type OciConfig, reportOf, runtimePath, statusField, TestBundle } from './bundle.js';

let bundle: TestBundle;
let server: Server | undefined;
beforeEach(() => {
  bundle = new TestBundle();
  server = undefined;
});
afterEach(() => {
  server?.close();
  bundle.dispose();
});

const start = (change: (config: OciConfig) => void = () => {}): void => {
  expect(bundle.create(['wait'], change).stderr).toBe('');
  expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
};
const begin = (...args: string[]): ChildProcess =>
  spawn(runtimePath, ['--root', bundle.stateRoot, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
/** The exit code and what it said on stderr. */
const end = async (child: ChildProcess): Promise<{ code: number; stderr: string }> => {
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, stderr };
};

describe('the engine’s end of a console socket', () => {
  const path = (): string => join(bundle.dir, 'console.sock');
  const create = (): string[] => {
    const config = bundle.config(['exit', '0']);
    config.process.terminal = true;
    bundle.write(config);
    return ['create', '--bundle', bundle.dir, '--console-socket', path(), bundle.id];
  };
  const listen = async (take: 'close' | 'chatter'): Promise<void> => {
    server = createServer((socket) => {
      socket.on('error', () => {});
      if (take === 'close') socket.destroy();
      else socket.write('x'.repeat(1 << 16));
    });
    server.listen(path());
    await once(server, 'listening');
  };

  it('may hang: a terminal that nobody has taken yet keeps nothing waiting', async () => {
    await listen('close');
    // This process is the engine, and stands still meanwhile: the connection is never accepted.
    expect(bundle.runtime(create())).toMatchObject({ status: 0, stderr: '' });
    expect(bundle.state().status).toBe('created');
  });

  it.each(['close', 'chatter'] as const)(
    'may %s at any moment: there is a container or an error, and nothing is left of either',
    async (take) => {
      await listen(take);
      for (let i = 0; i < 4; i += 1) {
        const { code, stderr } = await end(begin(...create()));
        // A terminal that was hung up before the container took it cannot control anything.
        if (code !== 0) expect(stderr).toMatch(/console|terminal to the engine|control the terminal/);
        expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
        expect(bundle.leftovers()).toEqual([]);
      }
    },
  );
});

describe('file capabilities', () => {
  const NET_RAW = 1n << 13n;
  const effective = (noNewPrivileges: boolean): bigint => {
    copyFileSync(join(nativeDir, 'berth-probe'), join(bundle.rootfs, 'capped'));
    expect(spawnSync('setcap', ['cap_net_raw+ep', join(bundle.rootfs, 'capped')]).status).toBe(0);
    start((config) => {
      asHostRoot(config);
      config.process.noNewPrivileges = noNewPrivileges;
      config.process.capabilities = { bounding: ['CAP_NET_RAW'] };
    });
    const { status } = reportOf(bundle.runtime(['exec', '-u', '1000:1000', bundle.id, '/capped', 'report']));
    return BigInt(`0x${statusField(status, 'CapEff')}`);
  };

  it('give a program of exec nothing under no_new_privs', () => {
    expect(effective(true)).toBe(0n);
  });

  it('would without it', () => {
    expect(effective(false) & NET_RAW).toBe(NET_RAW);
  });
});

it('leaves nothing but the container of an exec that is killed at any moment', async () => {
  start();
  const init = `${bundle.pid()}\n`;
  const procs = (): string[] => bundle.cgroups().map((dir) => readFileSync(join(dir, 'cgroup.procs'), 'utf8'));
  for (let delay = 0; delay < 12; delay += 1) {
    const child = begin('exec', bundle.id, '/probe', 'exit', '0');
    const ended = once(child, 'close');
    await new Promise((done) => setTimeout(done, delay / 2));
    child.kill('SIGKILL');
    await ended;
    await eventually(() => procs().every((pids) => pids === init), 'the container has its one process again');
  }
  expect(bundle.runtime(['exec', bundle.id, '/probe', 'exit', '7']).status).toBe(7);
});

it('keeps its state whole when pause, resume and update come at once', async () => {
  start();
  for (let round = 0; round < 4; round += 1) {
    const ends = await Promise.all(
      [['pause'], ['resume'], ['update', '--pids-limit', `${20 + round}`], ['pause'], ['resume']].map(([verb, ...options]) =>
        end(begin(verb ?? '', ...options, bundle.id)),
      ),
    );
    // A pause of what is paused and a resume of what runs may be refused; the update has nobody to fear.
    expect(ends[2]).toEqual({ code: 0, stderr: '' });
    expect(['running', 'paused']).toContain(bundle.state().status);
    if (bundle.state().status === 'paused') expect(bundle.runtime(['resume', bundle.id]).status).toBe(0);
    expect(bundle.runtime(['exec', bundle.id, '/probe', 'exit', '5']).status).toBe(5);
  }
});

it.each([['pause'], ['resume'], ['update', '--pids-limit', '20'], ['delete', '--force']])(
  'has %s wait its turn while another changes the container',
  async (verb, ...options) => {
    start();
    if (verb === 'resume') expect(bundle.runtime(['pause', bundle.id]).status).toBe(0);
    const other = spawn('flock', [join(bundle.stateRoot, bundle.id), '-c', 'echo; read -r line'], { stdio: ['pipe', 'pipe', 'ignore'] });
    await once(other.stdout, 'data');
    const child = begin(verb, ...options, bundle.id);
    const ended = end(child);
    await new Promise((done) => setTimeout(done, 300));
    expect(child.exitCode).toBeNull();
    other.stdin.end('\n');
    expect(await ended).toEqual({ code: 0, stderr: '' });
  },
);

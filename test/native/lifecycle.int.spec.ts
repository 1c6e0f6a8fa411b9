import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, HOST_BASE, reportOf, runtimePath, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

describe('run', () => {
  it('runs the program and leaves nothing behind', () => {
    const outcome = bundle.run(['report']);
    expect(outcome.stderr).toBe('');
    expect(outcome.status).toBe(0);
    expect(reportOf(outcome).pid).toBe(1);
    expect(bundle.leftovers()).toEqual([]);
  });

  it.each([0, 1, 37, 255])('exits with the status %i of the program', (status) => {
    expect(bundle.run(['exit', `${status}`]).status).toBe(status);
  });

  it('exits with 128 and the signal that killed the program', async () => {
    bundle.write(bundle.config(['ready', 'wait']));
    const child = spawn(runtimePath, ['--root', bundle.stateRoot, 'run', '--bundle', bundle.dir, bundle.id], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((ready) => child.stdout.once('data', ready));
    bundle.runtime(['kill', bundle.id, 'KILL']);
    expect(await new Promise((done) => child.once('exit', done))).toBe(137);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('hands its own signals on to the container', async () => {
    bundle.write(bundle.config(['trap', '15', 'ready', 'wait']));
    const child = spawn(runtimePath, ['--root', bundle.stateRoot, 'run', '--bundle', bundle.dir, bundle.id], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((ready) => child.stdout.once('data', ready));
    child.kill('SIGTERM');
    expect(await new Promise((done) => child.once('exit', done))).toBe(42);
  });

  it('leaves a detached container running', () => {
    bundle.write(bundle.config(['ready', 'wait']));
    expect(bundle.runtime(['run', '--detach', '--bundle', bundle.dir, bundle.id]).status).toBe(0);
    expect(bundle.state().status).toBe('running');
  });

  it('says why a program cannot run and leaves nothing behind', () => {
    const outcome = bundle.run([], (config) => {
      config.process.args = ['/nowhere'];
    });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toBe('berth-runtime: exec /nowhere: no such file or directory\n');
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('create and start', () => {
  it('go through created, running and stopped', async () => {
    expect(bundle.create(['ready', 'wait']).status).toBe(0);
    expect(bundle.state()).toMatchObject({ ociVersion: '1.0.2', id: bundle.id, status: 'created', pid: bundle.pid(), bundle: bundle.dir });
    expect(bundle.output().stdout).toBe('');
    expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
    expect(bundle.state()).toMatchObject({ status: 'running', pid: bundle.pid() });
    expect(bundle.runtime(['kill', bundle.id, 'SIGKILL']).status).toBe(0);
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(bundle.state().pid).toBe(0);
    expect(bundle.runtime(['delete', bundle.id]).status).toBe(0);
    expect(bundle.runtime(['state', bundle.id]).status).toBe(1);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('keep the annotations', () => {
    bundle.create(['wait'], (config) => {
      config.annotations = { 'berth.run': 'run_1', 'a"b': 'ü' };
    });
    expect(bundle.state().annotations).toEqual({ 'berth.run': 'run_1', 'a"b': 'ü' });
  });

  it('refuse what does not fit the state', () => {
    bundle.create(['wait']);
    expect(bundle.runtime(['create', '--bundle', bundle.dir, bundle.id]).stderr).toContain('exists');
    expect(bundle.runtime(['delete', bundle.id]).stderr).toContain('created, not stopped');
    expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
    expect(bundle.runtime(['start', bundle.id]).stderr).toContain('running, not created');
    expect(bundle.runtime(['delete', bundle.id]).stderr).toContain('running, not stopped');
  });

  it('report at start that the program has gone since create', () => {
    expect(bundle.create(['wait']).status).toBe(0);
    rmSync(join(bundle.rootfs, 'probe'));
    const outcome = bundle.runtime(['start', bundle.id]);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain('exec /probe: no such file');
  });

  it('hold no descriptor of the runtime while they wait, but sockets', async () => {
    bundle.create(['wait']);
    // Its word that it is ready is not yet the end of what it says so by.
    const others = (): string[] => readdirSync(`/proc/${bundle.pid()}/fd`).filter((fd) => Number(fd) > 2);
    await eventually(() => others().length === 1, 'one socket');
  });

  it('let one of two concurrent starts win', async () => {
    bundle.create(['wait']);
    const results = await Promise.all(
      [1, 2].map(() => {
        const child = spawn(runtimePath, ['--root', bundle.stateRoot, 'start', bundle.id], { stdio: 'ignore' });
        return new Promise((done) => child.once('exit', done));
      }),
    );
    expect(results.sort()).toEqual([0, 1]);
  });
});

describe('kill', () => {
  it.each(['TERM', 'SIGTERM', '15', 'term'])('understands %s', async (signal) => {
    bundle.create(['trap', '15', 'ready', 'wait']);
    bundle.runtime(['start', bundle.id]);
    const saved = bundle.pid();
    await new Promise((done) => setTimeout(done, 50));
    expect(bundle.runtime(['kill', bundle.id, signal]).status).toBe(0);
    await eventually(() => !isAlive(saved), 'gone');
  });

  it('sends TERM by default and refuses an unknown signal', () => {
    bundle.create(['trap', '15', 'wait']);
    bundle.runtime(['start', bundle.id]);
    expect(bundle.runtime(['kill', bundle.id, 'NOPE']).stderr).toContain('unknown signal NOPE');
    expect(bundle.runtime(['kill', bundle.id]).status).toBe(0);
  });

  const startTwo = async (): Promise<void> => {
    bundle.create(['background', 'wait'], (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'pid');
      config.mounts = config.mounts.filter(({ type }) => type !== 'proc');
    });
    bundle.runtime(['start', bundle.id]);
    await eventually(() => processesOf(bundle).length === 2, 'two processes');
  };

  it.each([['--all'], []])('reaches every process of a container in the host’s pid namespace: KILL %s', async (...options: string[]) => {
    await startTwo();
    expect(bundle.runtime(['kill', ...options, bundle.id, 'KILL']).status).toBe(0);
    await eventually(() => processesOf(bundle).length === 0, 'no process');
  });

  it('reaches those who outlived its first process there, once', async () => {
    await startTwo();
    process.kill(bundle.pid(), 'SIGKILL');
    await eventually(() => processesOf(bundle).length === 1, 'one process');
    expect(bundle.runtime(['kill', bundle.id, 'TERM']).stderr).toContain('not running');
    expect(bundle.runtime(['kill', bundle.id, 'KILL']).status).toBe(0);
    await eventually(() => processesOf(bundle).length === 0, 'no process');
    expect(bundle.runtime(['kill', bundle.id, 'KILL']).stderr).toContain('not running');
  });

  it('refuses a container that has ended', async () => {
    bundle.create(['exit', '0']);
    bundle.runtime(['start', bundle.id]);
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(bundle.runtime(['kill', bundle.id]).stderr).toContain('not running');
  });
});

function processesOf(container: TestBundle): string[] {
  const [dir] = container.cgroups();
  return dir ? readFileSync(join(dir, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean) : [];
}

describe('delete --force', () => {
  it('kills a running container and removes all of it', () => {
    bundle.create(['wait']);
    bundle.runtime(['start', bundle.id]);
    const pid = bundle.pid();
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(isAlive(pid)).toBe(false);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('kills processes that outlive the first one where no pid namespace ends them', async () => {
    bundle.create(['background', 'exit', '0'], (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'pid');
      config.mounts = config.mounts.filter(({ type }) => type !== 'proc');
    });
    bundle.runtime(['start', bundle.id]);
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('finds nothing to do for a container that is gone', () => {
    expect(bundle.runtime(['delete', '--force', bundle.id])).toMatchObject({ status: 0, stderr: '' });
  });

  it('removes cgroups that were made below', () => {
    bundle.create(['wait']);
    for (const dir of bundle.cgroups()) mkdirSync(join(dir, 'a/b'), { recursive: true });
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('cleans up after a runtime that was killed before it wrote the state', () => {
    mkdirSync(join(bundle.stateRoot, bundle.id), { recursive: true });
    writeFileSync(join(bundle.stateRoot, bundle.id, '.state.json.1.tmp'), '{');
    expect(bundle.runtime(['delete', '--force', bundle.id]).status).toBe(0);
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('the command line', () => {
  it.each(['', '.', '..', 'a/b', 'a b', `${'x'.repeat(201)}`])('refuses the id "%s"', (id) => {
    bundle.write(bundle.config(['exit', '0']));
    expect(bundle.runtime(['run', '--bundle', bundle.dir, id]).stderr).toContain('invalid container id');
  });

  it('writes errors to --log as runc does', () => {
    const log = join(bundle.dir, 'log');
    expect(bundle.runtime(['state', 'none'], { globals: ['--log', log, '--log-format', 'json'] }).status).toBe(1);
    const line = JSON.parse(readFileSync(log, 'utf8'));
    expect(line).toMatchObject({ level: 'error', msg: 'container none does not exist: No such file or directory' });
    expect(Date.parse(line.time)).toBeGreaterThan(0);
  });

  it('refuses unknown commands and options', () => {
    expect(bundle.runtime(['frobnicate', 'x']).stderr).toContain('unknown command frobnicate');
    expect(bundle.runtime(['delete', '--nope', 'x']).stderr).toContain('unknown option --nope');
    expect(bundle.runtime(['state', 'a', 'b']).stderr).toContain('too many arguments');
  });

  it('names itself and the specification', () => {
    expect(bundle.runtime([], { globals: ['--version'] }).stdout).toMatch(/^berth-runtime version \S+\ncommit: \S+\nspec: 1\.\S+\n$/);
  });
});

it('gives the container root its own files, seen from the host as an unprivileged id', () => {
  const outcome = bundle.run(['create', '/made', 'x', 'chown', '/made', '5', 'stat', '/made']);
  expect(outcome.lines.map(({ ok }) => ok)).toEqual([true, true, true]);
  expect(outcome.lines[2]).toMatchObject({ uid: 5 });
  expect(statSync(join(bundle.rootfs, 'made')).uid).toBe(HOST_BASE + 5);
});

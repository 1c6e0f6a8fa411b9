import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, hierarchyOf, inTerminal, type OciConfig, runtimePath, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const MIB = 1 << 20;
const start = (ops: string[] = ['wait'], change: (config: OciConfig) => void = () => {}): void => {
  expect(bundle.create(ops, change).stderr).toBe('');
  expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
};
const tell = (verb: string, ...rest: string[]): ReturnType<TestBundle['runtime']> => bundle.runtime([verb, ...rest, bundle.id]);
/** Jiffies that a process has run. */
const cpuOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
};

describe('pause and resume', () => {
  it('stop every process where it stands, and let it go on', async () => {
    start(['spin']);
    expect(tell('pause')).toMatchObject({ status: 0, stderr: '' });
    expect(bundle.state().status).toBe('paused');
    const before = cpuOf(bundle.pid());
    await new Promise((done) => setTimeout(done, 100));
    expect(cpuOf(bundle.pid())).toBe(before);
    expect(tell('pause').stderr).toContain('is paused, not running');
    expect(tell('resume')).toMatchObject({ status: 0, stderr: '' });
    expect(bundle.state().status).toBe('running');
    await eventually(() => cpuOf(bundle.pid()) > before, 'running on');
    expect(tell('resume').stderr).toContain('is running, not paused');
  });

  it('keep others out meanwhile, but for those who insist', () => {
    start();
    tell('pause');
    expect(bundle.runtime(['exec', bundle.id, '/probe', 'exit', '0']).stderr).toContain('cannot exec in a paused container');
    tell('resume');
    expect(bundle.runtime(['exec', '--ignore-paused', bundle.id, '/probe', 'exit', '4']).status).toBe(4);
  });

  it('do not save a container from kill', async () => {
    start();
    tell('pause');
    expect(bundle.runtime(['kill', bundle.id, 'KILL'])).toMatchObject({ status: 0, stderr: '' });
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
  });

  it('do not save a container from delete --force', () => {
    start();
    tell('pause');
    expect(tell('delete').stderr).toContain('is paused, not stopped');
    expect(tell('delete', '--force')).toMatchObject({ status: 0, stderr: '' });
    expect(bundle.leftovers()).toEqual([]);
  });

  it('refuse a container that has ended', async () => {
    start(['exit', '0']);
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(tell('pause').stderr).toContain('is stopped, not running');
  });
});

describe('ps', () => {
  it('lists the processes of the container and no others, as the host sees them', () => {
    start(['background', 'wait']);
    bundle.runtime(['exec', '-d', bundle.id, '/probe', 'wait']);
    const pids = JSON.parse(tell('ps', '--format', 'json').stdout) as number[];
    expect(pids).toContain(bundle.pid());
    const expected = readFileSync(join(bundle.cgroups()[0] ?? '', 'cgroup.procs'), 'utf8')
      .trim()
      .split('\n')
      .map(Number);
    expect([...pids].sort()).toEqual([...expected].sort());
    const [head, ...lines] = tell('ps').stdout.trim().split('\n');
    expect(head).toMatch(/^UID +PID/);
    expect(lines.map((line) => Number(line.split(/\s+/)[1])).sort()).toEqual([...expected].sort());
    const short = bundle.runtime(['ps', bundle.id, '-o', 'pid,comm']).stdout.trim().split('\n');
    expect(short[0]?.trim()).toMatch(/^PID +COMMAND$/);
    expect(bundle.runtime(['ps', bundle.id, '-o', 'comm']).stderr).toContain('no column PID');
    expect(tell('ps', '-f', 'xml').stderr).toContain('--format is table or json');
  });
});

describe('list', () => {
  it('tells of every container below the root, whatever else is there', async () => {
    expect(bundle.runtime(['list', '-f', 'json']).stdout).toBe('[]\n');
    start();
    mkdirSync(join(bundle.stateRoot, 'stray'));
    writeFileSync(join(bundle.stateRoot, 'file'), '');
    mkdirSync(join(bundle.stateRoot, 'broken'));
    writeFileSync(join(bundle.stateRoot, 'broken/state.json'), '{');
    const { stdout, stderr, status } = bundle.runtime(['list', '--format', 'json']);
    expect(status).toBe(0);
    expect(stderr).toMatch(/^berth-runtime: warning: container broken: .*\n$/);
    expect(JSON.parse(stdout)).toEqual([
      expect.objectContaining({
        id: bundle.id,
        pid: bundle.pid(),
        status: 'running',
        bundle: bundle.dir,
        owner: 'root',
        ociVersion: '1.0.2',
      }),
    ]);
    expect(bundle.runtime(['list', '-q']).stdout).toBe(`${bundle.id}\n`);
    const [head, row] = bundle.runtime(['list']).stdout.split('\n');
    expect(head?.split(/\s+/)).toEqual(['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER']);
    expect(row?.split(/\s+/).slice(0, 4)).toEqual([bundle.id, `${bundle.pid()}`, 'running', bundle.dir]);
  });
});

describe('update', () => {
  const limit = (controller: string, v1: string, v2: string): string => {
    const { mount, v2: unified } = hierarchyOf(controller);
    return readFileSync(join(mount + bundle.cgroupsPath, unified ? v2 : v1), 'utf8').trim();
  };
  const memory = (): string => limit('memory', 'memory.limit_in_bytes', 'memory.max');
  const pids = (): string => limit('pids', 'pids.max', 'pids.max');

  it('changes what its options name and nothing else', () => {
    start(['wait'], (config) => {
      config.linux.resources = { memory: { limit: 64 * MIB }, pids: { limit: 50 } };
    });
    expect(tell('update', '--memory', '100m', '--cpu-share', '512')).toMatchObject({ status: 0, stderr: '' });
    expect([memory(), pids()]).toEqual([`${100 * MIB}`, '50']);
    expect(tell('update', '--pids-limit', '20')).toMatchObject({ status: 0, stderr: '' });
    expect([memory(), pids()]).toEqual([`${100 * MIB}`, '20']);
    expect(tell('update', '--pids-limit=-1').status).toBe(0);
    expect(pids()).toBe('max');
  });

  it('takes resources as config.json has them, from a file or stdin, and options over them', () => {
    start();
    const file = join(bundle.dir, 'resources.json');
    writeFileSync(file, JSON.stringify({ memory: { limit: 80 * MIB }, pids: { limit: 30 } }));
    expect(tell('update', '--resources', file, '--pids-limit', '31')).toMatchObject({ status: 0, stderr: '' });
    expect([memory(), pids()]).toEqual([`${80 * MIB}`, '31']);
    writeFileSync(file, JSON.stringify({ pids: { limit: 32 } }));
    const stdin = openSync(file, 'r');
    expect(bundle.runtime(['update', '--resources', '-', bundle.id], { stdin })).toMatchObject({ status: 0, stderr: '' });
    closeSync(stdin);
    expect(pids()).toBe('32');
  });

  it('leaves every limit as it was when one is refused', () => {
    start(['wait'], (config) => {
      config.linux.resources = { memory: { limit: 64 * MIB }, pids: { limit: 50 } };
    });
    const refused: [string[], string][] = [
      [['--memory', '32m', '--pids-limit', 'many'], '--pids-limit must be a number'],
      [['--memory', '1x'], 'is not a number of bytes'],
      [['--memory', '99999999999t'], 'is not a number of bytes'],
      [['--memory', '32m', '--cpuset-cpus', '4000'], 'cpus'],
      [['--memory', '32m', '--l3-cache-schema', 'x'], '--l3-cache-schema is not supported'],
      [['--memory', '32m', '--resources', '/nowhere'], '--resources /nowhere'],
    ];
    for (const [options, message] of refused) {
      const outcome = tell('update', ...options);
      expect(outcome.stderr, options.join(' ')).toContain(message);
      expect(outcome.status).toBe(1);
      expect([memory(), pids()]).toEqual([`${64 * MIB}`, '50']);
    }
  });

  it('refuses a container that has ended', async () => {
    start(['exit', '0']);
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(tell('update', '--pids-limit', '5').stderr).toContain('not running');
  });
});

describe('run in the foreground', () => {
  it('keeps the stopped container when told to', () => {
    bundle.write(bundle.config(['exit', '3']));
    expect(bundle.runtime(['run', '--keep', '-b', bundle.dir, bundle.id]).status).toBe(3);
    expect(bundle.state().status).toBe('stopped');
    expect(tell('delete').status).toBe(0);
  });

  it('stands in for the engine’s end of the terminal', async () => {
    const config = bundle.config(['window', 'line', 'report', 'exit', '7']);
    config.process.terminal = true;
    bundle.write(config);
    const command = `${runtimePath} --root ${bundle.stateRoot} run -b ${bundle.dir} ${bundle.id}; echo status $?`;
    const text = await inTerminal(command, '"window"', 'hello');
    expect(text).toContain('"rows":33,"columns":77');
    expect(text).toContain('"text":"hello"');
    expect(text).toContain('"fds":{"0":"/dev/pts/0","1":"/dev/pts/0","2":"/dev/pts/0"}');
    expect(text).toContain('status 7');
    expect(bundle.leftovers()).toEqual([]);
  });

  it('runs the poststart hooks', () => {
    const log = join(bundle.dir, 'hooks');
    bundle.run(['exit', '0'], (config) => {
      config.hooks = { poststart: [{ path: '/bin/sh', args: ['sh', '-c', `cat > ${log}`], env: ['PATH=/bin'] }] };
    });
    expect(JSON.parse(readFileSync(log, 'utf8'))).toMatchObject({ status: 'running', id: bundle.id });
  });
});

describe('the command line', () => {
  it('explains itself and every command', () => {
    expect(bundle.runtime(['help', 'exec']).stdout).toContain('--console-socket');
    const { stdout, status } = bundle.runtime(['--help']);
    expect(status).toBe(0);
    const listed = stdout.split('COMMANDS:\n')[1]?.split('\n\n')[0] ?? '';
    const commands = listed.split('\n').map((line) => line.trim().split(/\s+/)[0] ?? '');
    expect(commands).toEqual(expect.arrayContaining(['create', 'exec', 'update', 'ps']));
    for (const command of commands) {
      const help = bundle.runtime([command, '--help']);
      expect(help).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining(`berth-runtime ${command} - `) });
    }
  });

  it('takes what engines pass and refuses what it cannot keep', () => {
    const globals = ['--rootless', 'auto', '--criu', 'criu', '--debug'];
    expect(bundle.runtime(['list'], { globals }).status).toBe(0);
    expect(bundle.runtime(['list'], { globals: ['--systemd-cgroup'] }).stderr).toContain('cgroups are made without systemd');
    expect(bundle.runtime(['list'], { globals: ['--log-format', 'xml'] }).stderr).toContain('unknown log format xml');
    bundle.write(bundle.config(['exit', '5']));
    expect(bundle.runtime(['run', '--no-pivot', '-b', bundle.dir, bundle.id]).stderr).toContain('--no-pivot');
    expect(bundle.runtime(['run', '--no-new-keyring', '--no-subreaper', '-b', bundle.dir, bundle.id]).status).toBe(5);
  });

  it('logs text and debug lines when asked', () => {
    const log = join(bundle.dir, 'log');
    bundle.runtime(['state', 'none'], { globals: ['--log', log, '--debug'] });
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    expect(lines[0]).toMatch(/^time="[^"]+" level=debug msg="state none"$/);
    expect(lines[1]).toMatch(/^time="[^"]+" level=error msg="container none does not exist/);
    expect(existsSync(log)).toBe(true);
  });
});

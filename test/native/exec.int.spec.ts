import { spawn, spawnSync } from 'node:child_process';
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  asHostRoot,
  eventually,
  hierarchies,
  inTerminal,
  nativeDir,
  type OciConfig,
  reportOf,
  runtimePath,
  statusField,
  TestBundle,
} from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

/** A running container whose program waits. */
const start = (change: (config: OciConfig) => void = () => {}): void => {
  const made = bundle.create(['wait'], change);
  expect(made.stderr).toBe('');
  expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
};
const exec = (options: string[], ...ops: string[]): ReturnType<TestBundle['runtime']> =>
  bundle.runtime(['exec', ...options, bundle.id, '/probe', ...ops]);
const processFile = (change: Record<string, unknown>, ...ops: string[]): string => {
  const path = join(bundle.dir, 'process.json');
  const { process } = bundle.config(ops);
  writeFileSync(path, JSON.stringify({ ...process, ...change }));
  return path;
};
const cgroupsOf = (pid: number | 'self'): string => readFileSync(`/proc/${pid}/cgroup`, 'utf8');

describe('exec', () => {
  it('runs a program in every namespace and cgroup of the container, with what its process has', async () => {
    start((config) => {
      config.process.user = { uid: 7, gid: 8, additionalGids: [9], umask: 0o27 };
      config.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 100, hard: 200 }];
      config.process.oomScoreAdj = 500;
    });
    const pidFile = join(bundle.dir, 'exec-pid');
    const outcome = exec(['--pid-file', pidFile], 'report', 'exit', '37');
    expect(outcome).toMatchObject({ stderr: '', status: 37 });
    const report = reportOf(outcome);
    const namespaces = Object.keys(report.ns);
    expect(Object.fromEntries(namespaces.map((name) => [name, readlinkSync(`/proc/${bundle.pid()}/ns/${name}`)]))).toEqual(report.ns);
    expect(report).toMatchObject({ uid: 7, gid: 8, groups: [9], umask: 0o27, hostname: 'box', cwd: '/', env: ['PATH=/bin', 'HOME=/'] });
    expect(report.pid).toBeGreaterThan(1);
    expect(report.sid).toBe(report.pid);
    expect(report.oom_score_adj).toBe('500\n');
    expect(report.limits).toMatch(/Max open files\s+100\s+200/);
    expect(Object.keys(report.fds)).toEqual(['0', '1', '2']);
    expect(statusField(report.status, 'NoNewPrivs')).toBe('1');
    expect(statusField(report.status, 'CapBnd')).toBe('00000000a80425fb');
    expect(statusField(report.status, 'SigBlk')).toBe('0000000000000000');
    expect(Number(readFileSync(pidFile, 'utf8'))).toBeGreaterThan(1);
    expect(report.keyring).not.toBe(0);
  });

  it('leaves its process in the container’s cgroups when detached', async () => {
    start();
    const pidFile = join(bundle.dir, 'exec-pid');
    expect(exec(['-d', '--pid-file', pidFile], 'wait')).toMatchObject({ status: 0, stderr: '' });
    const pid = Number(readFileSync(pidFile, 'utf8'));
    expect(cgroupsOf(pid)).toBe(cgroupsOf(bundle.pid()));
    expect(cgroupsOf(pid)).not.toBe(cgroupsOf('self'));
    expect(readlinkSync(`/proc/${pid}/exe`)).toContain('/probe');
  });

  it('goes to a cgroup below the container’s when told to, of one controller or of all', () => {
    start();
    const pidFile = join(bundle.dir, 'exec-pid');
    for (const dir of bundle.cgroups()) {
      mkdirSync(join(dir, 'below'));
      // A v1 cpuset is born empty, and takes no process then.
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        if (existsSync(join(dir, 'below', file))) writeFileSync(join(dir, 'below', file), readFileSync(join(dir, file)));
      }
    }
    expect(exec(['-d', '--pid-file', pidFile, '--cgroup', 'below'], 'wait')).toMatchObject({ status: 0, stderr: '' });
    const lines = cgroupsOf(Number(readFileSync(pidFile, 'utf8'))).split('\n');
    expect(lines.filter((line) => line.endsWith(`${bundle.cgroupsPath}/below`))).toHaveLength(bundle.cgroups().length);
    const freezer = hierarchies().find(({ controllers, v2 }) => !v2 && controllers.includes('freezer'));
    const one = exec(['-d', '--pid-file', pidFile, '--cgroup', 'freezer:below'], 'wait');
    if (!freezer) return expect(one.stderr).toContain('no such v1 controller holds the container');
    expect(one).toMatchObject({ status: 0, stderr: '' });
    const [line, ...others] = cgroupsOf(Number(readFileSync(pidFile, 'utf8')))
      .split('\n')
      .filter((text) => text.endsWith('/below'));
    expect([line, others]).toEqual([expect.stringContaining(':freezer:'), []]);
  });

  it('follows the container’s process to where it went, when its own v2 cgroup takes no processes any more', () => {
    start();
    const mount = hierarchies().find(({ v2 }) => v2)?.mount ?? '';
    const dir = join(mount, bundle.cgroupsPath);
    mkdirSync(join(dir, 'below'));
    writeFileSync(join(dir, 'below/cgroup.procs'), `${bundle.pid()}`);
    const [controller] = readFileSync(join(mount, 'cgroup.controllers'), 'utf8').match(/pids|hugetlb/) ?? [];
    const given = [mount, join(dir, '..'), dir].filter((parent) => {
      const file = join(parent, 'cgroup.subtree_control');
      const missing = !readFileSync(file, 'utf8')
        .split(/\s+/)
        .includes(controller ?? '');
      if (missing) writeFileSync(file, `+${controller}`);
      return missing;
    });
    try {
      const pidFile = join(bundle.dir, 'exec-pid');
      expect(exec(['-d', '--pid-file', pidFile], 'wait')).toMatchObject({ status: 0, stderr: '' });
      expect(cgroupsOf(Number(readFileSync(pidFile, 'utf8')))).toContain(`0::${bundle.cgroupsPath}/below\n`);
    } finally {
      for (const parent of given.reverse()) writeFileSync(join(parent, 'cgroup.subtree_control'), `-${controller}`);
    }
  });

  it('joins a container that waits for its start', () => {
    expect(bundle.create(['wait']).stderr).toBe('');
    expect(exec([], 'exit', '6').status).toBe(6);
    expect(bundle.state().status).toBe('created');
  });

  it('takes what options add', () => {
    start();
    const outcome = exec(
      ['--cwd', '/proc', '-e', 'A=1', '--env', 'PATH=/x', '-u', '5:6', '-g', '77', '--cap', 'CAP_SYS_NICE', '--no-new-privs'],
      'report',
    );
    const report = reportOf(outcome);
    expect(report).toMatchObject({ cwd: '/proc', env: ['PATH=/x', 'A=1', 'HOME=/'], uid: 5, gid: 6, groups: [77] });
    expect(statusField(report.status, 'CapEff')).toBe('0000000000800000');
  });

  it('takes a process.json, and nothing of the container’s process then', () => {
    start((config) => {
      config.process.user = { uid: 7, gid: 8 };
    });
    const file = processFile({ env: ['X=y'], cwd: '/dev', capabilities: {} }, 'report');
    const report = reportOf(bundle.runtime(['exec', '--process', file, bundle.id]));
    expect(report).toMatchObject({ uid: 0, env: ['X=y', 'HOME=/'], cwd: '/dev' });
    expect(statusField(report.status, 'CapEff')).toBe('0000000000000000');
  });

  it.each([false, true])('is under the container’s seccomp filter, no_new_privs %s', (noNewPrivileges) => {
    start((config) => {
      config.process.noNewPrivileges = noNewPrivileges;
      config.linux.seccomp = {
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['mkdir', 'clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 74 }],
      };
    });
    const outcome = exec([], 'mkdir', '/x', 'report');
    expect(outcome.lines[0]?.error).toBe('EBADMSG');
    expect(statusField(reportOf(outcome).status, 'Seccomp')).toBe('2');
    expect(statusField(reportOf(outcome).status, 'NoNewPrivs')).toBe(noNewPrivileges ? '1' : '0');
  });

  it('joins a container that has the host’s user or pid namespace', () => {
    start((config) => {
      asHostRoot(config);
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'pid');
      config.mounts = config.mounts.filter(({ type }) => type !== 'proc');
    });
    expect(exec([], 'ls', '/').lines[0]?.names).toContain('probe');
  });

  it('hands on its stdin, preserved descriptors and no others', () => {
    start();
    const input = join(bundle.dir, 'input');
    writeFileSync(input, 'typed\n');
    const stdin = openSync(input, 'r');
    expect(bundle.runtime(['exec', bundle.id, '/probe', 'line'], { stdin }).lines[0]).toMatchObject({ text: 'typed' });
    closeSync(stdin);
    const command = `exec ${runtimePath} --root ${bundle.stateRoot} exec --preserve-fds 1 ${bundle.id} /probe report 3<${input} 4<${input}`;
    const line = spawnSync('sh', ['-c', command], { encoding: 'utf8' }).stdout;
    expect(Object.keys(JSON.parse(line).fds)).toEqual(['0', '1', '2', '3']);
  });

  it('hands on the sockets of a service manager, and nobody else’s', () => {
    start();
    const report = (pid: string): { fds: Record<string, string>; env: string[] } =>
      JSON.parse(
        spawnSync(
          'sh',
          [
            '-c',
            `LISTEN_FDS=1 LISTEN_PID=${pid} exec ${runtimePath} --root ${bundle.stateRoot} exec ${bundle.id} /probe report 3</dev/null`,
          ],
          { encoding: 'utf8' },
        ).stdout,
      );
    const given = report('$$');
    expect(Object.keys(given.fds)).toEqual(['0', '1', '2', '3']);
    expect(given.env).toEqual(['PATH=/bin', 'LISTEN_FDS=1', 'LISTEN_PID=1', 'HOME=/']);
    expect(Object.keys(report('1').fds)).toEqual(['0', '1', '2']);
  });

  it('makes an added capability ambient where it is inheritable', () => {
    start((config) => {
      const kept = ['CAP_KILL', 'CAP_CHOWN'];
      config.process.capabilities = {
        bounding: [...kept, 'CAP_FOWNER'],
        permitted: kept,
        effective: kept,
        inheritable: ['CAP_CHOWN', 'CAP_FOWNER'],
      };
    });
    const ambient = (...caps: string[]) =>
      statusField(
        reportOf(
          exec(
            caps.flatMap((cap) => ['--cap', cap]),
            'report',
          ),
        ).status,
        'CapAmb',
      );
    expect(BigInt(`0x${ambient()}`)).toBe(0n);
    expect(BigInt(`0x${ambient('CAP_FOWNER', 'CAP_KILL')}`)).toBe(1n << 3n);
  });

  it('refuses what is no container, is stopped, and what makes no sense', async () => {
    expect(bundle.runtime(['exec', 'none', '/probe']).stderr).toContain('container none does not exist');
    start();
    expect(exec(['-u', '4294967295'], 'report').stderr).toContain('user id 4294967295 is out of range');
    expect(exec(['--cwd', 'x'], 'report').stderr).toContain('--cwd x is not an absolute path');
    expect(exec(['--env', 'x'], 'report').stderr).toContain('--env "x" is not NAME=VALUE');
    expect(exec(['--apparmor', 'x'], 'report').stderr).toMatch(/apparmorProfile x is not (supported: this kernel has no AppArmor|loaded)/);
    expect(exec(['-t', '-d'], 'report').stderr).toContain('a detached process with a terminal needs --console-socket');
    expect(exec(['--cgroup', '../..'], 'report').stderr).toContain('--cgroup ../..: ');
    expect(bundle.runtime(['exec', bundle.id]).stderr).toContain('exec needs a program');
    const gone = bundle.runtime(['exec', bundle.id, 'nowhere']);
    expect(gone).toMatchObject({ status: 255, stderr: 'berth-runtime: exec nowhere: executable file not found in $PATH\n' });
    bundle.runtime(['kill', bundle.id, 'KILL']);
    await eventually(() => bundle.state().status === 'stopped', 'stopped');
    expect(exec([], 'report')).toMatchObject({ status: 255, stderr: `berth-runtime: cannot exec in a stopped container: ${bundle.id}\n` });
  });

  it('hands its signals on, and tells by which one the program died', async () => {
    start();
    const child = spawn(runtimePath, ['--root', bundle.stateRoot, 'exec', bundle.id, '/probe', 'trap', '15', 'ready', 'wait'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((ready) => child.stdout.once('data', ready));
    child.kill('SIGTERM');
    expect(await new Promise((done) => child.once('exit', done))).toBe(42);
    const other = spawn(runtimePath, ['--root', bundle.stateRoot, 'exec', bundle.id, '/probe', 'ready', 'wait'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((ready) => other.stdout.once('data', ready));
    bundle.runtime(['kill', bundle.id, 'KILL']);
    expect(await new Promise((done) => other.once('exit', done))).toBe(137);
  });
});

describe('a terminal', () => {
  const engine = async (socket: string): Promise<{ text: () => string; closed: Promise<unknown> }> => {
    const child = spawn(join(nativeDir, 'test/console-engine'), [socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    const closed = new Promise((done) => child.once('close', done));
    await eventually(() => text.includes('listening'), 'listening');
    return { text: () => text, closed };
  };

  it('goes to the engine from a detached exec', async () => {
    start();
    const socket = join(bundle.dir, 'console.sock');
    const { text, closed } = await engine(socket);
    const file = processFile(
      { terminal: true, consoleSize: { width: 91, height: 17 }, user: { uid: 5, gid: 5 } },
      'report',
      'stat',
      '/dev/pts/0',
    );
    expect(bundle.runtime(['exec', '--detach', '--tty', '--console-socket', socket, '--process', file, bundle.id])).toMatchObject({
      status: 0,
      stderr: '',
    });
    await closed;
    expect(text()).toContain('size 17 91');
    const [report, stat] = text()
      .split(/\r?\n/)
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
    expect(Object.values(report.fds)).toEqual(['/dev/pts/0', '/dev/pts/0', '/dev/pts/0']);
    expect(stat).toMatchObject({ ok: true, uid: 5 });
  });

  it('is stood in for by the runtime in the foreground: output, input, size, status', async () => {
    start();
    const command = `${runtimePath} --root ${bundle.stateRoot} exec -t ${bundle.id} /probe window line exit 7; echo status $?; stty -a | grep -o '[-]*icanon'`;
    const text = await inTerminal(command, '"window"', 'hello');
    expect(text).toContain('"rows":33,"columns":77');
    expect(text).toContain('"text":"hello"');
    expect(text).toContain('status 7');
    expect(text).toMatch(/\nicanon/);
  });

  it('ends its lines by \\n alone where they go to no terminal, and once by \\r\\n where they do', async () => {
    start();
    const command = [runtimePath, '--root', bundle.stateRoot, 'exec', '-t', bundle.id, '/probe', 'window'];
    expect(spawnSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', timeout: 25_000 }).stdout).toMatch(/[^\r]\n$/);
    expect(await inTerminal(`${command.join(' ')} line`, '"window"', 'hello')).toMatch(/}\r\n/);
  });
});

describe('what a container could do to one who enters it', () => {
  it('a working directory of /proc/self/fd/N leads nowhere', () => {
    start(asHostRoot);
    for (let fd = 3; fd < 11; fd++) {
      expect(exec(['--cwd', `/proc/self/fd/${fd}`], 'ls', '.'), `${fd}`).toMatchObject({ status: 255, stdout: '' });
    }
  });

  it('the process appears inside only with the user’s rights', async () => {
    start(asHostRoot);
    // Stopped before its exec: the runtime, killed while it holds the last word, leaves nothing either.
    const child = spawn(
      'strace',
      [
        '-f',
        '-qq',
        '-o',
        join(bundle.dir, 'trace'),
        '-e',
        'trace=clone3,setresuid,setns,capset,prctl,close_range,execve',
        runtimePath,
      ].concat(['--root', bundle.stateRoot, 'exec', '-u', '5:5', bundle.id, '/probe', 'report']),
      // The leak check of sanitized programs cannot work under a tracer.
      { stdio: 'ignore', env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' } },
    );
    expect(await new Promise((done) => child.once('exit', done))).toBe(0);
    const trace = readFileSync(join(bundle.dir, 'trace'), 'utf8').split('\n');
    const at = (pattern: RegExp): number => trace.findIndex((line) => pattern.test(line));
    const inside = trace.findIndex((line) => /CLONE_PARENT\b/.test(line));
    expect(inside).toBeGreaterThan(0);
    for (const step of [/setns\(/, /close_range\(/, /setresuid\(5, 5, 5\)/, /capset\(/, /PR_SET_NO_NEW_PRIVS/]) {
      expect(at(step), `${step}`).toBeGreaterThan(0);
      expect(at(step), `${step}`).toBeLessThan(inside);
    }
  });

  it('the runtime’s file, kept open from the moment before the exec, cannot be written afterwards', async () => {
    const copy = join(bundle.dir, 'berth-runtime');
    copyFileSync(runtimePath, copy);
    start(asHostRoot);
    const slow = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=execve', '-e', 'inject=execve:delay_enter=1500000'];
    const child = spawn('strace', [...slow, copy, '--root', bundle.stateRoot, 'exec', bundle.id, '/probe', 'exit', '0'], {
      stdio: 'ignore',
    });
    const ended = new Promise((done) => child.once('exit', done));
    const inside = (): string | undefined =>
      readFileSync(join(bundle.cgroups()[0] ?? '', 'cgroup.procs'), 'utf8')
        .split('\n')
        .find((pid) => pid && Number(pid) !== bundle.pid());
    // The first to be seen may be the one that only starts the second, and end meanwhile.
    let held = -1;
    const hold = (): boolean => {
      try {
        held = openSync(`/proc/${inside()}/exe`, 'r');
      } catch {}
      return held >= 0;
    };
    await eventually(hold, 'a process inside');
    expect(readFileSync(held).equals(readFileSync(runtimePath))).toBe(true);
    await ended;
    // The same open of any other program’s file succeeds once nobody runs it: see the runtime’s own file, hostile.int.spec.ts.
    expect(() => openSync(`/proc/self/fd/${held}`, 'r+')).toThrow('EROFS');
    closeSync(held);
  });

  it('the runtime’s file cannot be written by a container that exec runs it in', () => {
    const bytes = readFileSync(runtimePath);
    start(asHostRoot);
    writeFileSync(join(bundle.rootfs, 'entry'), '#!/proc/self/exe\n', { mode: 0o755 });
    bundle.runtime(['exec', bundle.id, '/entry', '--version']);
    expect(exec([], 'write', '/proc/self/exe', 'x').lines[0]).toMatchObject({ ok: false });
    expect(readFileSync(runtimePath).equals(bytes)).toBe(true);
  });
});

it('leaves nothing behind when its program cannot run', () => {
  start();
  expect(bundle.runtime(['exec', bundle.id, '/nowhere']).status).toBe(255);
  for (const dir of bundle.cgroups()) expect(readFileSync(join(dir, 'cgroup.procs'), 'utf8')).toBe(`${bundle.pid()}\n`);
});

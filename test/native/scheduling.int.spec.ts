import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, type OciConfig, type Outcome, type Report, reportOf, runtimePath, statusField, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const onProcess = (fields: Record<string, unknown>) => (config: OciConfig) => {
  Object.assign(config.process, fields);
};
const onLinux = (fields: Record<string, unknown>) => (config: OciConfig) => {
  Object.assign(config.linux, fields);
};

/** Field of /proc/self/stat, counted from 1 as in proc(5), of the probe's `read`. */
const statField = (outcome: Outcome, field: number): number => Number(String(outcome.lines[0]?.text).split(' ')[field - 1]);
const [NICE, RT_PRIORITY, POLICY] = [19, 40, 41];

describe('the scheduler', () => {
  it.each([
    [{ policy: 'SCHED_BATCH', nice: 7 }, [3, 7, 0]],
    [{ policy: 'SCHED_IDLE', flags: ['SCHED_FLAG_RESET_ON_FORK'] }, [5, 0, 0]],
    [{ policy: 'SCHED_OTHER', nice: -3 }, [0, -3, 0]],
  ])('is the config’s: %o', (scheduler, [policy, nice, priority]) => {
    const outcome = bundle.run(['read', '/proc/self/stat'], onProcess({ scheduler }));
    expect(outcome.stderr).toBe('');
    expect([POLICY, NICE, RT_PRIORITY].map((field) => statField(outcome, field))).toEqual([policy, nice, priority]);
  });

  it.each([
    [{ policy: 'SCHED_FIFO', priority: 5 }, 1, 5],
    [{ policy: 'SCHED_DEADLINE', runtime: 1_000_000, deadline: 10_000_000, period: 20_000_000 }, 6, 0],
  ])('may be realtime where the cgroup has a share of it, and says so where it has none: %o', (scheduler, policy, priority) => {
    const outcome = bundle.run(['read', '/proc/self/stat'], onProcess({ scheduler }));
    if (outcome.stderr) return expect(outcome.stderr).toContain('set the scheduler: Operation not permitted');
    expect([POLICY, RT_PRIORITY].map((field) => statField(outcome, field))).toEqual([policy, priority]);
  });

  it.each([
    [{ policy: 'SCHED_FAIR' }, 'scheduler.policy "SCHED_FAIR" is unknown'],
    [{ policy: 'SCHED_FIFO' }, 'priority is 1 to 99'],
    [{ policy: 'SCHED_OTHER', runtime: 5 }, 'are for SCHED_DEADLINE'],
    [{ policy: 'SCHED_OTHER', flags: ['FAST'] }, 'scheduler.flags "FAST" is unknown'],
    [{ policy: 'SCHED_OTHER', nice: 20 }, 'nice must be an integer from -20 to 19'],
    [{ policy: 'SCHED_ISO' }, 'SCHED_ISO is not supported'],
  ])('that makes no sense is refused: %o', (scheduler, message) => {
    expect(bundle.run(['exit', '0'], onProcess({ scheduler })).stderr).toContain(message);
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('the memory policy', () => {
  const numa = ['read', '/proc/self/numa_maps'];
  const policyOf = (outcome: Outcome, line = 0): string => String(outcome.lines[line]?.text).split(' ')[1] ?? '';

  it.each([
    [{ mode: 'MPOL_INTERLEAVE', nodes: '0' }, 'interleave:0'],
    [{ mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] }, 'bind=static:0'],
    [{ mode: 'MPOL_PREFERRED', nodes: '0', flags: ['MPOL_F_RELATIVE_NODES'] }, 'prefer=relative:0'],
    [{ mode: 'MPOL_LOCAL' }, 'local'],
    [{ mode: 'MPOL_DEFAULT' }, 'default'],
  ])('is the config’s: %o', (memoryPolicy, policy) => {
    const outcome = bundle.run(numa, onLinux({ memoryPolicy }));
    expect(outcome.stderr).toBe('');
    expect(policyOf(outcome)).toBe(policy);
  });

  it('is that of every process of exec', () => {
    bundle.create(['wait'], onLinux({ memoryPolicy: { mode: 'MPOL_INTERLEAVE', nodes: '0' } }));
    bundle.runtime(['start', bundle.id]);
    expect(policyOf(bundle.runtime(['exec', bundle.id, '/probe', ...numa]))).toBe('interleave:0');
  });

  it.each([
    [{}, 'linux.memoryPolicy: invalid memory policy: mode "" is unknown'],
    [{ mode: 'INTERLEAVE' }, 'mode "INTERLEAVE" is unknown'],
    [{ mode: 'MPOL_BIND', nodes: '0', flags: ['FAST'] }, 'invalid memory policy flag "FAST" is unknown'],
    [{ mode: 'MPOL_BIND', nodes: '0-' }, 'linux.memoryPolicy.nodes must be a list'],
    [{ mode: 'MPOL_BIND', nodes: '8191' }, 'does not take the mode, flags and nodes'],
    [{ mode: 'MPOL_BIND' }, 'does not take the mode, flags and nodes'],
  ])('that makes no sense is refused: %o', (memoryPolicy, message) => {
    expect(bundle.run(['exit', '0'], onLinux({ memoryPolicy })).stderr).toContain(message);
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('the I/O priority', () => {
  const IOPRIO_GET = ['syscall', 'x86_64', '252', '1', '0', '0'];
  it.each([
    ['IOPRIO_CLASS_BE', 3, (2 << 13) | 3],
    ['IOPRIO_CLASS_IDLE', 0, 3 << 13],
    ['IOPRIO_CLASS_RT', 7, (1 << 13) | 7],
  ])('is the config’s: %s %i', (name, priority, expected) => {
    const outcome = bundle.run(IOPRIO_GET, onProcess({ ioPriority: { class: name, priority } }));
    expect(outcome.lines[0]?.result).toBe(expected);
  });

  it('of an unknown class is refused', () => {
    expect(bundle.run(['exit', '0'], onProcess({ ioPriority: { class: 'BEST' } })).stderr).toContain('ioPriority.class "BEST" is unknown');
  });
});

describe('the CPUs of exec', () => {
  it('are the final ones of execCPUAffinity', () => {
    bundle.create(['wait'], onProcess({ execCPUAffinity: { initial: '0-1', final: '0' } }));
    bundle.runtime(['start', bundle.id]);
    const { status } = reportOf(bundle.runtime(['exec', bundle.id, '/probe', 'report']));
    expect(statusField(status, 'Cpus_allowed_list')).toBe('0');
  });

  it('are all of the container’s cpuset without it, and so they are for init, whatever the runtime is bound to', () => {
    const all = statusField(readFileSync('/proc/self/status', 'utf8'), 'Cpus_allowed_list');
    const last = all.split(/[-,]/).at(-1) ?? '0';
    const bound = (...args: string[]) =>
      spawnSync('taskset', ['-c', last, runtimePath, '--root', bundle.stateRoot, ...args], { encoding: 'utf8', timeout: 25_000 });
    const cpusOf = (stdout: string) => statusField((JSON.parse(stdout.split('\n')[0] ?? '') as Report).status, 'Cpus_allowed_list');
    bundle.write(bundle.config(['report']));
    expect(cpusOf(bound('run', '--bundle', bundle.dir, bundle.id).stdout)).toBe(all);
    const config = bundle.config(['wait']);
    config.linux.resources = { cpu: { cpus: '0', mems: '0' } };
    bundle.write(config);
    const pidFile = join(bundle.dir, 'pid');
    const starter = [
      '-c',
      last,
      runtimePath,
      '--root',
      bundle.stateRoot,
      'run',
      '--detach',
      '--pid-file',
      pidFile,
      '--bundle',
      bundle.dir,
      bundle.id,
    ];
    expect(spawnSync('taskset', starter, { stdio: 'ignore', timeout: 25_000 }).status).toBe(0);
    expect(statusField(readFileSync(`/proc/${bundle.pid()}/status`, 'utf8'), 'Cpus_allowed_list')).toBe('0');
    expect(cpusOf(bound('exec', bundle.id, '/probe', 'report').stdout)).toBe('0');
  });

  it.each(['x', '1-', '3-1', '-1', '0,', '9999'])('are refused as the list "%s"', (final) => {
    expect(bundle.run(['exit', '0'], onProcess({ execCPUAffinity: { final } })).stderr).toContain('must be a list like 0-3,7');
  });
});

describe('the personality', () => {
  const GET = ['syscall', 'x86_64', '135', '0xffffffff', '0', '0'];
  it.each([
    ['LINUX32', 8],
    ['LINUX', 0],
  ])('is %s, in exec too', (domain, expected) => {
    bundle.create(['wait'], onLinux({ personality: { domain } }));
    bundle.runtime(['start', bundle.id]);
    expect(bundle.runtime(['exec', bundle.id, '/probe', ...GET]).lines[0]?.result).toBe(expected);
    bundle.runtime(['delete', '--force', bundle.id]);
    expect(bundle.run(GET, onLinux({ personality: { domain } })).lines[0]?.result).toBe(expected);
  });
});

describe.skipIf(!existsSync('/proc/self/ns/time'))('a time namespace', () => {
  const uptime = (): number => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  const DAY = 86_400;
  const timed = (config: OciConfig): void => {
    config.linux.namespaces.push({ type: 'time' });
    config.linux.timeOffsets = { monotonic: { secs: DAY, nanosecs: 5 }, boottime: { secs: 2 * DAY } };
  };

  it.each([
    ['in a user namespace', () => {}],
    ['without one', asHostRoot],
  ] as const)('has clocks of its own, in exec too, %s', (_, change) => {
    bundle.create(['report', 'read', '/proc/uptime', 'read', '/proc/self/timens_offsets', 'wait'], (config) => {
      change(config);
      timed(config);
    });
    bundle.runtime(['start', bundle.id]);
    const outcome = bundle.runtime(['exec', bundle.id, '/probe', 'report', 'read', '/proc/uptime', 'read', '/proc/self/timens_offsets']);
    expect(reportOf(outcome).ns.time).not.toBe(readlinkSync('/proc/self/ns/time'));
    expect(reportOf(outcome).ns.time).toBe(readlinkSync(`/proc/${bundle.pid()}/ns/time`));
    expect(Number(String(outcome.lines[1]?.text).split(' ')[0]) - uptime()).toBeGreaterThan(2 * DAY - 60);
    expect(String(outcome.lines[2]?.text).trim().split(/\s+/)).toEqual(['monotonic', `${DAY}`, '5', 'boottime', `${2 * DAY}`, '0']);
  });

  it('can be joined by its path', () => {
    const other = new TestBundle();
    try {
      other.create(['wait'], timed);
      const outcome = bundle.run(['report'], (config) => {
        config.linux.namespaces.push({ type: 'time', path: `/proc/${other.pid()}/ns/time` });
      });
      expect(reportOf(outcome).ns.time).toBe(readlinkSync(`/proc/${other.pid()}/ns/time`));
    } finally {
      other.dispose();
    }
  });

  it('is needed for offsets', () => {
    const timeOffsets = { monotonic: { secs: 1 } };
    expect(bundle.run(['exit', '0'], onLinux({ timeOffsets })).stderr).toContain('timeOffsets need a new time namespace');
    const wrong = onLinux({ timeOffsets: { realtime: { secs: 1 } } });
    expect(bundle.run(['exit', '0'], wrong).stderr).toContain('timeOffsets are for monotonic and boottime, not realtime');
  });
});

it('joins namespaces of the host’s from within a new user namespace', () => {
  // A network namespace that the engine made belongs to the host's user namespace: only from there can it be joined.
  const other = new TestBundle();
  try {
    other.create(['wait'], asHostRoot);
    const outcome = bundle.run(['report'], (config) => {
      config.linux.namespaces = config.linux.namespaces.map(({ type }) =>
        type === 'network' || type === 'ipc' ? { type, path: `/proc/${other.pid()}/ns/${type === 'ipc' ? 'ipc' : 'net'}` } : { type },
      );
      config.mounts = config.mounts.filter(({ type }) => type !== 'mqueue');
    });
    expect(outcome.stderr).toBe('');
    expect(reportOf(outcome).ns.net).toBe(readlinkSync(`/proc/${other.pid()}/ns/net`));
    expect(reportOf(outcome).ns.user).not.toBe(readlinkSync('/proc/self/ns/user'));
  } finally {
    other.dispose();
  }
});

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, hierarchies, hierarchyOf, nativeDir, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const MIB = 1 << 20;

/** The value of a limit's file, which has one name on v1 and another on v2. */
const limitOf = (controller: string, v1: string, v2: string): string => {
  const hierarchy = hierarchyOf(controller);
  return readFileSync(join(hierarchy.mount + bundle.cgroupsPath, hierarchy.v2 ? v2 : v1), 'utf8').trim();
};

const createWith = (resources: Record<string, unknown>) =>
  bundle.create(['wait'], (config) => {
    config.linux.resources = resources;
  });

describe('the cgroup', () => {
  it('is made in every hierarchy that holds a controller, and the process is in it', () => {
    createWith({});
    const expected = hierarchies().filter(({ v2, controllers }) => v2 || controllers.some((c) => !c.startsWith('name=') && c !== 'rw'));
    expect(bundle.cgroups().length).toBe(expected.length);
    for (const dir of bundle.cgroups()) expect(readFileSync(join(dir, 'cgroup.procs'), 'utf8').trim()).toBe(`${bundle.pid()}`);
  });

  it('has a name of its own when the config gives none', () => {
    bundle.create(['wait'], (config) => {
      config.linux.cgroupsPath = '';
    });
    const { mount } = hierarchyOf('memory');
    expect(existsSync(`${mount}/berth/${bundle.id}`)).toBe(true);
    bundle.runtime(['delete', '--force', bundle.id]);
    expect(existsSync(`${mount}/berth/${bundle.id}`)).toBe(false);
  });

  it('stands beside those without a name when its path is relative', () => {
    bundle.create(['wait'], (config) => {
      config.linux.cgroupsPath = `rel-${bundle.id}/x`;
    });
    const { mount } = hierarchyOf('memory');
    expect(existsSync(`${mount}/berth/rel-${bundle.id}/x`)).toBe(true);
    bundle.runtime(['delete', '--force', bundle.id]);
    for (const hierarchy of hierarchies()) {
      if (existsSync(`${hierarchy.mount}/berth/rel-${bundle.id}`)) rmdirSync(`${hierarchy.mount}/berth/rel-${bundle.id}`);
    }
  });

  it.each(['a/../../escape', '/a/../../escape', '/./x'])('is refused at %s', (path) => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.linux.cgroupsPath = path;
    });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain('cgroupsPath');
  });

  it('is refused when it has processes already, and they are left alone', () => {
    createWith({});
    const other = new TestBundle();
    try {
      const outcome = other.run(['exit', '0'], (config) => {
        config.linux.cgroupsPath = bundle.cgroupsPath;
      });
      expect(outcome.stderr).toContain('has processes already');
      expect(bundle.state().status).toBe('created');
    } finally {
      other.dispose();
    }
  });
});

describe('a cgroup that is there already', () => {
  const freezer = () => {
    const v1 = hierarchies().find(({ v2, controllers }) => !v2 && controllers.includes('freezer'));
    const v2 = hierarchies().find((hierarchy) => hierarchy.v2);
    return v1
      ? { mount: v1.mount, file: 'freezer.state', frozen: 'FROZEN' }
      : { mount: v2?.mount ?? '', file: 'cgroup.freeze', frozen: '1' };
  };

  it('is refused while it is frozen, and left as it was', () => {
    const { mount, file, frozen } = freezer();
    const dir = mount + bundle.cgroupsPath;
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, file), frozen);
    for (const command of ['run', 'create']) {
      bundle.write(bundle.config(['exit', '0']));
      const outcome = bundle.runtime([command, '--bundle', bundle.dir, bundle.id]);
      expect(outcome.stderr).toContain(`container's cgroup unexpectedly frozen: ${dir}`);
      expect(readFileSync(join(dir, file), 'utf8').trim()).toBe(frozen);
      expect(bundle.cgroups()).toEqual([dir]);
    }
    rmdirSync(dir);
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('limits', () => {
  it('are written as asked', () => {
    createWith({
      memory: { limit: 64 * MIB, swap: 80 * MIB, reservation: 32 * MIB },
      cpu: { quota: 25000, period: 50000, shares: 512 },
      pids: { limit: 33 },
    });
    expect(limitOf('memory', 'memory.limit_in_bytes', 'memory.max')).toBe(`${64 * MIB}`);
    expect(limitOf('memory', 'memory.soft_limit_in_bytes', 'memory.low')).toBe(`${32 * MIB}`);
    const swap = hierarchyOf('memory').v2 ? 16 * MIB : 80 * MIB;
    expect(limitOf('memory', 'memory.memsw.limit_in_bytes', 'memory.swap.max')).toBe(`${swap}`);
    expect(limitOf('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toBe(hierarchyOf('cpu').v2 ? '25000 50000' : '25000');
    expect(limitOf('cpu', 'cpu.shares', 'cpu.weight')).toBe(hierarchyOf('cpu').v2 ? '20' : '512');
    expect(limitOf('pids', 'pids.max', 'pids.max')).toBe('33');
  });

  it('of -1 mean no limit', () => {
    createWith({ memory: { limit: -1 }, cpu: { quota: -1 }, pids: { limit: -1 } });
    expect(limitOf('pids', 'pids.max', 'pids.max')).toBe('max');
    expect(limitOf('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^(-1|max 100000)$/);
  });

  it('on memory kill the program that exceeds them', () => {
    const within = bundle.run(['alloc', `${16 * MIB}`], (config) => {
      config.linux.resources = { memory: { limit: 32 * MIB, swap: 32 * MIB } };
    });
    expect(within.lines[0]?.ok).toBe(true);
    const beyond = bundle.run(['alloc', `${64 * MIB}`], (config) => {
      config.linux.resources = { memory: { limit: 32 * MIB, swap: 32 * MIB } };
    });
    expect(beyond.status).toBe(137);
    expect(bundle.leftovers()).toEqual([]);
  });

  it('on processes stop forks', () => {
    const outcome = bundle.run(['fork', '50'], (config) => {
      config.linux.resources = { pids: { limit: 10 } };
    });
    expect(outcome.lines[0]).toMatchObject({ ok: false, error: 'EAGAIN', count: 9 });
    const free = bundle.run(['fork', '50']);
    expect(free.lines[0]).toMatchObject({ ok: true, count: 50 });
  });

  it('on the cpu throttle', () => {
    const hierarchy = hierarchyOf('cpu');
    bundle.create(['fork', '2', 'alloc', `${800 * MIB}`, 'wait'], (config) => {
      config.linux.resources = { cpu: { quota: 5000, period: 100000 } };
    });
    bundle.runtime(['start', bundle.id]);
    const throttled = () =>
      Number(/nr_throttled (\d+)/.exec(readFileSync(join(hierarchy.mount + bundle.cgroupsPath, 'cpu.stat'), 'utf8'))?.[1]);
    const deadline = Date.now() + 8000;
    while (throttled() === 0 && Date.now() < deadline);
    expect(throttled()).toBeGreaterThan(0);
  });

  it.each([
    [{ memory: { swap: 5 } }, 'memory.swap needs memory.limit'],
    [{ memory: { limit: 10 * MIB, swap: 5 * MIB } }, 'at least memory.limit'],
    [{ memory: { limit: 1.5 } }, 'limit must be an integer'],
    [{ memory: { limit: '64m' } }, 'limit must be an integer'],
    [{ memory: { kernel: 5 } }, 'memory.kernel is not supported below memory.limit'],
    [{ memory: { useHierarchy: false } }, 'useHierarchy false is not supported'],
    [{ unified: { 'cgroup.procs': '1' } }, 'not a controller'],
    [{ unified: { '../memory.max': '1' } }, 'not a controller'],
    [{ unified: { 'nosuch.file': '1' } }, hierarchies().some(({ v2 }) => v2) ? 'cannot limit nosuch.file' : 'unified needs cgroup v2'],
  ])('that cannot be given are refused: %o', (resources, message) => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.linux.resources = resources;
    });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain(message);
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('device rules', () => {
  const denyAll = { allow: false, access: 'rwm' };

  it('bar all devices but the default ones and those allowed', () => {
    const outcome = bundle.run(
      ['write', '/dev/null', 'x', 'read', '/dev/kmsg-copy', 'mknod', '/dev/mem', '1', '1', 'write', '/dev/kmsg-copy', 'x'],
      (config) => {
        asHostRoot(config);
        config.linux.devices = [{ path: '/dev/kmsg-copy', type: 'c', major: 1, minor: 11, fileMode: 0o666 }];
        config.linux.resources = { devices: [denyAll, { allow: true, type: 'c', major: 1, minor: 11, access: 'wm' }] };
      },
    );
    expect(outcome.stderr).toBe('');
    expect(outcome.lines.map(({ error }) => error)).toEqual([undefined, 'EPERM', 'EPERM', undefined]);
  });

  it('are a control that matters: without them a device can be made', () => {
    const outcome = bundle.run(['mknod', '/dev/mem', '1', '1'], asHostRoot);
    expect(outcome.lines[0]?.ok).toBe(true);
  });
});

const unified = hierarchies().find(({ v2 }) => v2);

it.skipIf(!unified)(
  'has device rules on v2, where one is mounted, as on v1: what is denied after a general denial, and what is allowed after that',
  () => {
    const dir = join(unified?.mount ?? '', `berth-devices-${process.pid}`);
    mkdirSync(dir);
    try {
      const { stdout, stderr } = spawnSync(join(nativeDir, 'test/devices'), [dir], { encoding: 'utf8' });
      expect(stderr).toBe('');
      expect(stdout.trim().split('\n').slice(0, 4)).toEqual([
        '/dev/null r ok',
        '/dev/null w ok',
        '/dev/kmsg r ok',
        '/dev/kmsg w Operation not permitted',
      ]);
    } finally {
      rmdirSync(dir);
    }
  },
);

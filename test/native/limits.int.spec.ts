import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hierarchies, hierarchyOf, nativeDir, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const MIB = 1 << 20;

/** `major:minor` of a whole disk of this machine. */
const disk = (() => {
  const [major, minor] =
    readFileSync('/proc/partitions', 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .find(([, , , name]) => existsSync(`/sys/block/${name}/device`)) ?? [];
  return { major: Number(major), minor: Number(minor), text: `${major}:${minor}` };
})();

const hasController = (name: string): boolean => hierarchies().some(({ controllers }) => controllers.includes(name));
/** Block devices are `blkio` on v1 and `io` on v2. */
const io = hasController('blkio') ? hierarchyOf('blkio') : hierarchyOf('io');
const dirOf = (hierarchy: { mount: string }): string => hierarchy.mount + bundle.cgroupsPath;
const read = (hierarchy: { mount: string }, file: string): string => readFileSync(join(dirOf(hierarchy), file), 'utf8').trim();

const createWith = (resources: Record<string, unknown>) =>
  bundle.create(['wait'], (config) => {
    config.linux.resources = resources;
  });

/** Changes the limits of the running container; what was refused. */
const update = (resources: Record<string, unknown>): string =>
  spawnSync(join(nativeDir, 'test/limits'), [bundle.cgroupsPath, JSON.stringify(resources)], { encoding: 'utf8' }).stderr;

describe('limits on block devices', () => {
  it('throttle each device by bytes and operations', () => {
    const device = { major: disk.major, minor: disk.minor };
    const { stderr } = createWith({
      blockIO: {
        throttleReadBpsDevice: [{ ...device, rate: MIB }],
        throttleWriteBpsDevice: [{ ...device, rate: 2 * MIB }],
        throttleReadIOPSDevice: [{ ...device, rate: 300 }],
        throttleWriteIOPSDevice: [{ ...device, rate: 400 }],
      },
    });
    expect(stderr).toBe('');
    if (io.v2) {
      expect(read(io, 'io.max')).toBe(`${disk.text} rbps=${MIB} wbps=${2 * MIB} riops=300 wiops=400`);
    } else {
      expect(read(io, 'blkio.throttle.read_bps_device')).toBe(`${disk.text} ${MIB}`);
      expect(read(io, 'blkio.throttle.write_bps_device')).toBe(`${disk.text} ${2 * MIB}`);
      expect(read(io, 'blkio.throttle.read_iops_device')).toBe(`${disk.text} 300`);
      expect(read(io, 'blkio.throttle.write_iops_device')).toBe(`${disk.text} 400`);
    }
  });

  it('give a share where the kernel has one, converted for v2, and are refused where it has none', () => {
    const { stderr } = createWith({ blockIO: { weight: 505 } });
    const found = ['blkio.weight', 'blkio.bfq.weight', 'io.bfq.weight', 'io.weight'].find((file) => existsSync(join(dirOf(io), file)));
    if (found) expect(read(io, found)).toMatch(found === 'io.weight' ? /^default 5000/ : /^(default )?505/);
    else expect(stderr).toContain('cannot limit block weight');
  });

  it('with a leaf weight are refused: no kernel that is in use has it', () => {
    expect(createWith({ blockIO: { leafWeight: 100 } }).stderr).toMatch(/leaf.?weight/i);
  });
});

describe('other limits', () => {
  it('hold for huge pages, reserved ones too', () => {
    const size = '2MB';
    const { stderr } = createWith({ hugepageLimits: [{ pageSize: size, limit: 4 * MIB }] });
    if (!hasController('hugetlb')) return expect(stderr).toContain('no cgroup hierarchy has the hugetlb controller');
    expect(stderr).toBe('');
    const hierarchy = hierarchyOf('hugetlb');
    const files = hierarchy.v2 ? ['max', 'rsvd.max'] : ['limit_in_bytes', 'rsvd.limit_in_bytes'];
    for (const file of files) expect(read(hierarchy, `hugetlb.${size}.${file}`), file).toBe(`${4 * MIB}`);
  });

  it('reach an empty cpuset through its parents, which are empty too', () => {
    expect(createWith({ cpu: { cpus: '0', mems: '0' } }).stderr).toBe('');
    expect(read(hierarchyOf('cpuset'), 'cpuset.cpus')).toBe('0');
  });

  it('of network and RDMA hold where a controller has them, and are refused elsewhere', () => {
    for (const [controller, resources, file, value] of [
      ['net_cls', { network: { classID: 1048577 } }, 'net_cls.classid', /^1048577$/],
      ['net_prio', { network: { priorities: [{ name: 'lo', priority: 7 }] } }, 'net_prio.ifpriomap', /^lo 7$/m],
      ['rdma', { rdma: { mlx5_1: { hcaHandles: 3 } } }, 'rdma.max', undefined],
    ] as const) {
      const { stderr } = createWith(resources);
      if (!hasController(controller)) expect(stderr).toContain(`no cgroup hierarchy has the ${controller} controller`);
      // This machine has no such adapter, and the kernel says so.
      else if (!value) expect(stderr).toContain('rdma.max = mlx5_1 hca_handle=3');
      else expect(read(hierarchyOf(controller), file)).toMatch(value);
      bundle.runtime(['delete', '--force', bundle.id]);
    }
  });

  it.each([
    [{ blockIO: { weight: 5 } }, 'blockIO.weight must be from 10 to 1000'],
    [{ blockIO: { weightDevice: [{ major: 8, weight: 100 }] } }, 'weightDevice needs major and minor'],
    [{ blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 0 }] } }, 'throttleReadBpsDevice needs a rate'],
    [{ hugepageLimits: [{ pageSize: '2MB/../x', limit: 1 }] }, 'need a pageSize like 2MB'],
    [{ hugepageLimits: [{ pageSize: '3MB', limit: 1 }] }, 'huge'],
    [{ network: { priorities: [{ name: 'lo\nx', priority: 1 }] } }, 'need the name of an interface'],
    [{ rdma: { mlx: {} } }, 'needs hcaHandles or hcaObjects'],
  ])('that make no sense are refused: %o', (resources, message) => {
    expect(createWith(resources).stderr).toContain(message);
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('an update', () => {
  const memory = hierarchyOf('memory');
  const limitFile = memory.v2 ? 'memory.max' : 'memory.limit_in_bytes';
  const cpu = hierarchyOf('cpu');
  const quotaFile = cpu.v2 ? 'cpu.max' : 'cpu.cfs_quota_us';

  it('raises and lowers memory and swap together, in whichever order the kernel takes them', () => {
    createWith({ memory: { limit: 64 * MIB, swap: 64 * MIB } });
    for (const limit of [256 * MIB, 32 * MIB]) {
      expect(update({ memory: { limit, swap: limit } })).toBe('');
      expect(read(memory, limitFile)).toBe(`${limit}`);
    }
  });

  it('leaves alone what it does not name, the other half of a quota with its period too', () => {
    createWith({ cpu: { quota: 20000, period: 50000 }, pids: { limit: 12 } });
    expect(update({ cpu: { quota: 30000 } })).toBe('');
    expect(read(cpu, quotaFile)).toBe(cpu.v2 ? '30000 50000' : '30000');
    expect(update({ cpu: { period: 60000 } })).toBe('');
    expect(read(cpu, quotaFile)).toBe(cpu.v2 ? '30000 60000' : '30000');
    expect(read(hierarchyOf('pids'), 'pids.max')).toBe('12');
  });

  it('that the kernel refuses in the middle changes nothing', () => {
    createWith({ memory: { limit: 64 * MIB }, cpu: { quota: 20000, period: 50000, cpus: '0' } });
    // A CPU that is not there is refused by the kernel alone, after the limits before it were written.
    expect(update({ memory: { limit: 96 * MIB }, cpu: { quota: 40000, cpus: '4000' } })).not.toBe('');
    expect(read(memory, limitFile)).toBe(`${64 * MIB}`);
    expect(read(cpu, quotaFile)).toBe(cpu.v2 ? '20000 50000' : '20000');
  });

  it('below what is in use is refused when the config says to check', () => {
    createWith({ memory: { limit: 64 * MIB } });
    expect(update({ memory: { limit: 4096, checkBeforeUpdate: true } })).toContain('checkBeforeUpdate is set');
    expect(read(memory, limitFile)).toBe(`${64 * MIB}`);
  });

  it('takes a throttle away again', () => {
    const rate = (value: number) => ({ blockIO: { throttleReadBpsDevice: [{ major: disk.major, minor: disk.minor, rate: value }] } });
    createWith(rate(MIB));
    expect(update(rate(0))).toBe('');
    expect(read(io, io.v2 ? 'io.max' : 'blkio.throttle.read_bps_device')).toBe('');
  });

  it('replaces device rules', () => {
    const deny = { allow: false, access: 'rwm' };
    bundle.create(['wait'], (config) => {
      config.linux.resources = { devices: [deny] };
    });
    expect(update({ devices: [deny, { allow: true, type: 'c', major: 10, minor: 200, access: 'rw' }] })).toBe('');
    expect(update({ devices: [deny, { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' }] })).toBe('');
    if (!hasController('devices')) return;
    const list = read(hierarchyOf('devices'), 'devices.list');
    expect(list).toContain('c 10:229 rw');
    expect(list).not.toContain('10:200');
  });
});

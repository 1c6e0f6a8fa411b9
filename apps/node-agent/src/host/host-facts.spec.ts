import { describe, expect, it } from 'vitest';
import { parseUptimeNs } from './boot.js';
import { cgroupModeOf, parseCgroupMounts, parseMaxOpenFiles } from './host-facts.js';

const v2 = '29 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n';
const memory = '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n';
const cpu = '36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n';
const systemd = '40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n';
const unified = '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n';
const other = '22 27 0:21 / /proc rw,relatime - proc proc rw\n';

describe('the facts of the host', () => {
  it.each([
    ['v2', other + v2],
    ['v1', memory + cpu + systemd],
    ['hybrid', memory + systemd + unified],
    ['v2', systemd + unified],
  ])('name the cgroup mode %s', (mode, mountinfo) => {
    expect(cgroupModeOf(parseCgroupMounts(mountinfo))).toBe(mode);
  });

  it('refuse a machine without cgroups', () => {
    expect(() => cgroupModeOf(parseCgroupMounts(other))).toThrow(/no cgroup hierarchy/);
  });

  it('name where each hierarchy is mounted, once', () => {
    const again = '99 31 0:33 / /elsewhere/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n';
    expect(parseCgroupMounts(cpu + systemd + unified + again)).toEqual([
      { mount: '/sys/fs/cgroup/cpu,cpuacct', v2: false, controllers: ['cpu', 'cpuacct'] },
      { mount: '/sys/fs/cgroup/systemd', v2: false, controllers: [] },
      { mount: '/sys/fs/cgroup/unified', v2: true, controllers: [] },
    ]);
  });

  it('name the hard limit of open files', () => {
    const line = (hard: string) =>
      `Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 ${hard}               files\n`;
    expect(parseMaxOpenFiles(line('524288'))).toBe(524_288);
    expect(parseMaxOpenFiles(line('unlimited'))).toBe(1_048_576);
  });

  it('read the clock that shims go by, never ahead of it', () => {
    expect(parseUptimeNs('3516.78 4523.18\n')).toBe(3_516_780_000_000n);
    expect(() => parseUptimeNs('soon')).toThrow();
  });
});

import { readFileSync } from 'node:fs';

export type BenchConfiguration = 'bare' | 'seccomp' | 'userns' | 'netns';

const capabilities = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
];
const idMap = [{ containerID: 0, hostID: 1_000_000, size: 65_536 }];

/**
 * config.json of a container as the runtimes' own `spec` writes it: all the usual mounts, memory and pids limits; `configuration` says what is added.
 * The program is `/bin/true` with `args`.
 */
export function benchConfig(configuration: BenchConfiguration, seccompProfile: string, args: readonly string[] = []): object {
  const namespaces = ['pid', 'ipc', 'uts', 'mount', 'cgroup'];
  if (configuration === 'netns') namespaces.push('network');
  if (configuration === 'userns') namespaces.push('user');
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/bin/true', ...args],
      env: ['PATH=/bin'],
      cwd: '/',
      noNewPrivileges: true,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    },
    root: { path: 'rootfs', readonly: configuration !== 'userns' },
    hostname: 'bench',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'] },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      // A user namespace that does not own the network namespace may not mount sysfs.
      ...(configuration === 'userns'
        ? []
        : [{ destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] }]),
    ],
    linux: {
      cgroupsPath: `/berth-bench-${process.pid}`,
      resources: { memory: { limit: 128 << 20 }, pids: { limit: 64 } },
      namespaces: namespaces.map((type) => ({ type })),
      ...(configuration === 'userns' ? { uidMappings: idMap, gidMappings: idMap } : {}),
      ...(configuration === 'seccomp' ? { seccomp: JSON.parse(readFileSync(seccompProfile, 'utf8')) } : {}),
      maskedPaths: [
        '/proc/kcore',
        '/proc/keys',
        '/proc/latency_stats',
        '/proc/timer_list',
        '/proc/sched_debug',
        '/proc/scsi',
        '/sys/firmware',
      ],
      readonlyPaths: ['/proc/asound', '/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  };
}

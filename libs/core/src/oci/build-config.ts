/*
 * The config.json of a container. INVARIANTS, whatever image and request say:
 *   - all seven namespaces are new, and root is mapped to an id that is nobody on the host;
 *   - the capabilities are Docker's harmless fourteen at most, with no_new_privs and a seccomp filter;
 *   - memory (with swap), cpu and pids are limited; every device but the harmless ones is denied;
 *   - nothing of the host is mounted but the files named in `files` and, read-only, the init program.
 */
import type { IdRange } from './id-range.js';
import type { NamespaceType, OciConfig, OciDeviceRule, OciHook, OciMount, OciSeccomp } from './oci-config.js';
import { type ContainerProcess, initPath } from './process.js';

/** What a container may use, as in a run's resources. */
export interface ContainerLimits {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly pids: number;
  readonly shmBytes: number;
}

export interface ContainerPlan {
  readonly id: string;
  readonly process: ContainerProcess;
  readonly hostname: string;
  /** The mounted root filesystem, absolute. */
  readonly rootfs: string;
  readonly readOnlyRootfs: boolean;
  readonly ids: IdRange;
  readonly limits: ContainerLimits;
  /** Absolute, relative to the root of each cgroup hierarchy. */
  readonly cgroupsPath: string;
  /** Files on the host that stand for the container's own /etc files. */
  readonly files: { readonly resolvConf: string; readonly hosts: string; readonly hostname: string };
  /** The init program on the host; null when the run does not ask for one. */
  readonly init: string | null;
  readonly seccomp: OciSeccomp;
  /** Gives the container its end of a network; null: loopback is all it has. */
  readonly networkHook: OciHook | null;
  /** The hard limit of open files that the host can give. */
  readonly maxOpenFiles: number;
  /** Whether the host counts swap; without swap accounting there is no limit to set, and the caller has made sure that there is no swap. */
  readonly swapAccounting: boolean;
}

/** The capabilities that Docker leaves to a container (moby, daemon/pkg/oci/caps/defaults.go); all of them bound to its user namespace. */
export const defaultCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/** Paths that tell of the host or change it, hidden from the container (moby, daemon/pkg/oci/defaults.go). */
export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

export const readonlyPaths: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const namespaces: readonly NamespaceType[] = ['pid', 'mount', 'uts', 'ipc', 'network', 'user', 'cgroup'];

const deviceRules: readonly OciDeviceRule[] = [
  { allow: false, access: 'rwm' },
  ...(
    [
      [1, 3],
      [1, 5],
      [1, 7],
      [1, 8],
      [1, 9],
      [5, 0],
      [5, 2],
    ] as const
  ).map(([major, minor]): OciDeviceRule => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
  { allow: true, type: 'c', major: 136, access: 'rwm' },
];

const cpuPeriodUs = 100_000;
const softOpenFiles = 1024;
const hardOpenFiles = 524_288;
// Under pressure of the host's memory the kernel picks containers before Berth's own processes.
const oomScoreAdj = 500;

/** The config.json that runs `plan`. */
export function buildConfig(plan: ContainerPlan): OciConfig {
  const mapping = { containerID: 0, hostID: plan.ids.base, size: plan.ids.count };
  const hardFiles = Math.min(hardOpenFiles, plan.maxOpenFiles);
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: {
        uid: plan.process.user.uid,
        gid: plan.process.user.gid,
        umask: 0o022,
        additionalGids: plan.process.user.additionalGids,
      },
      args: plan.process.args,
      env: plan.process.env,
      cwd: plan.process.cwd,
      capabilities: { bounding: defaultCapabilities, effective: defaultCapabilities, permitted: defaultCapabilities },
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: Math.min(softOpenFiles, hardFiles), hard: hardFiles },
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
      ],
      noNewPrivileges: true,
      oomScoreAdj,
    },
    root: { path: plan.rootfs, readonly: plan.readOnlyRootfs },
    hostname: plan.hostname,
    mounts: mountsOf(plan),
    ...(plan.networkHook === null ? {} : { hooks: { createRuntime: [plan.networkHook] } }),
    annotations: { 'berth.container': plan.id },
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      uidMappings: [mapping],
      gidMappings: [mapping],
      cgroupsPath: plan.cgroupsPath,
      resources: {
        devices: deviceRules,
        memory: { limit: plan.limits.memoryBytes, ...(plan.swapAccounting ? { swap: plan.limits.memoryBytes } : {}) },
        cpu: { shares: sharesOf(plan.limits.cpuMillis), quota: (plan.limits.cpuMillis * cpuPeriodUs) / 1000, period: cpuPeriodUs },
        pids: { limit: plan.limits.pids },
      },
      rootfsPropagation: 'rprivate',
      seccomp: plan.seccomp,
      maskedPaths,
      readonlyPaths,
    },
  };
}

function mountsOf(plan: ContainerPlan): readonly OciMount[] {
  const access = plan.readOnlyRootfs ? 'ro' : 'rw';
  const file = (destination: string, source: string, ...options: string[]): OciMount => ({
    destination,
    type: 'bind',
    source,
    options: ['bind', 'nosuid', 'nodev', ...options],
  });
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${plan.limits.shmBytes}`],
    },
    file('/etc/resolv.conf', plan.files.resolvConf, 'noexec', access),
    file('/etc/hosts', plan.files.hosts, 'noexec', access),
    file('/etc/hostname', plan.files.hostname, 'noexec', access),
    ...(plan.init === null ? [] : [file(initPath, plan.init, 'ro')]),
  ];
}

/** Weight against neighbours: 1024 a cpu, as Docker and Kubernetes count; the kernel takes 2 to 262144. */
function sharesOf(cpuMillis: number): number {
  return Math.min(262_144, Math.max(2, Math.round((cpuMillis * 1024) / 1000)));
}

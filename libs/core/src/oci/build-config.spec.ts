import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { golden } from './build-config.golden.js';
import { buildConfig, type ContainerPlan, defaultCapabilities } from './build-config.js';
import { idRangeOfSlot } from './id-range.js';
import { resolveProcess } from './process.js';

const plan: ContainerPlan = {
  id: 'run_1-1',
  process: {
    args: ['/bin/true'],
    env: ['A=1'],
    cwd: '/',
    user: { uid: 1000, gid: 1000, additionalGids: [50], home: '/' },
    stopSignal: 15,
  },
  hostname: 'host',
  rootfs: '/snapshots/run_1-1/rootfs',
  readOnlyRootfs: false,
  ids: idRangeOfSlot(3),
  limits: { cpuMillis: 1500, memoryBytes: 64 * 1024 * 1024, pids: 100, shmBytes: 65_536 },
  cgroupsPath: '/berth/node/run_1-1',
  files: { resolvConf: '/b/resolv.conf', hosts: '/b/hosts', hostname: '/b/hostname' },
  init: null,
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO' },
  networkHook: null,
  maxOpenFiles: 20_000,
  swapAccounting: true,
};

describe('the config.json of a container', () => {
  it('is this one', () => {
    expect(buildConfig(plan)).toEqual(golden);
  });

  it('has the hook that gives it a network, and nothing else by it', () => {
    const networkHook = { path: '/native/berth-net', args: ['berth-net', 'attach'], timeout: 10 };
    expect(buildConfig({ ...plan, networkHook })).toEqual({ ...golden, hooks: { createRuntime: [networkHook] } });
  });

  it('leaves swap out where the host counts none', () => {
    expect(buildConfig({ ...plan, swapAccounting: false }).linux.resources.memory).toEqual({ limit: plan.limits.memoryBytes });
  });

  it('binds the init read-only when the run asks for one', () => {
    const mount = buildConfig({ ...plan, init: '/native/berth-init' }).mounts.at(-1);
    expect(mount).toEqual({
      destination: '/dev/init',
      type: 'bind',
      source: '/native/berth-init',
      options: ['bind', 'nosuid', 'nodev', 'ro'],
    });
  });

  it('never asks for more open files than the host can give', () => {
    const [files] = buildConfig({ ...plan, maxOpenFiles: 512 }).process.rlimits;
    expect(files).toEqual({ type: 'RLIMIT_NOFILE', soft: 512, hard: 512 });
  });

  it('is as isolated whatever image and run say', () => {
    const text = fc.string({ maxLength: 8 });
    const texts = fc.array(text, { maxLength: 3 });
    const image = fc.record({
      entrypoint: texts,
      cmd: texts,
      env: texts,
      workingDir: text,
      user: text,
      stopSignal: fc.option(text, { nil: undefined }),
    });
    const request = fc.record({
      command: fc.option(fc.array(text, { minLength: 1, maxLength: 3 }), { nil: undefined }),
      env: fc.dictionary(text, text),
      init: fc.boolean(),
    });
    const isolation = (config: ReturnType<typeof buildConfig>) => ({
      ...config,
      process: { ...config.process, args: [], env: [], cwd: '', user: null },
    });
    fc.assert(
      fc.property(image, request, (imageProcess, requested) => {
        const result = resolveProcess(imageProcess, requested, { passwd: '', group: '' }, 'host');
        if (result.kind === 'refused') return;
        expect(isolation(buildConfig({ ...plan, process: result.process }))).toEqual(isolation(buildConfig(plan)));
        expect(result.process.user.uid).toBeLessThanOrEqual(65_535);
      }),
    );
  });

  it('limits cpu by quota and weighs it by shares the kernel takes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 10, max: 1_024_000 }), (cpuMillis) => {
        const { cpu } = buildConfig({ ...plan, limits: { ...plan.limits, cpuMillis } }).linux.resources;
        expect(cpu.quota / cpu.period).toBeCloseTo(cpuMillis / 1000, 6);
        expect(Number.isInteger(cpu.quota) && cpu.quota >= 1000).toBe(true);
        expect(Number.isInteger(cpu.shares) && cpu.shares >= 2 && cpu.shares <= 262_144).toBe(true);
      }),
    );
  });

  it('has no capability that reaches beyond the container', () => {
    for (const dangerous of ['SYS_ADMIN', 'SYS_MODULE', 'SYS_PTRACE', 'SYS_RAWIO', 'NET_ADMIN', 'BPF', 'DAC_READ_SEARCH', 'SYSLOG']) {
      expect(defaultCapabilities).not.toContain(`CAP_${dangerous}`);
    }
  });
});

describe('the ranges of ids', () => {
  it('never overlap, and stay within what a kernel counts as ids', () => {
    const slot = fc.integer({ min: 0, max: 4095 });
    fc.assert(
      fc.property(slot, slot, (a, b) => {
        const [one, other] = [idRangeOfSlot(a), idRangeOfSlot(b)];
        expect(one.count).toBe(65_536);
        expect(one.base + one.count - 1).toBeLessThanOrEqual(0x7fff_ffff);
        if (a !== b) expect(Math.abs(one.base - other.base)).toBeGreaterThanOrEqual(65_536);
      }),
    );
  });

  it.each([-1, 4096, 0.5, Number.NaN])('have no slot %d', (slot) => {
    expect(() => idRangeOfSlot(slot)).toThrow(RangeError);
  });
});

import { describe, expect, it } from 'vitest';
import type { Values } from '../command.js';
import { requestFromFlags, type runFlags } from './run-flags.js';

const request = (flags: Values<typeof runFlags>, args: string[] = [], environment: NodeJS.ProcessEnv = {}): unknown =>
  requestFromFlags('docker.io/library/alpine', args, flags, environment);

describe('the request of a command line', () => {
  it('holds nothing that was not said, so that the operator’s defaults count', () => {
    expect(request({})).toEqual({ image: 'docker.io/library/alpine' });
  });

  it('takes arguments as the image’s CMD and the entrypoint as its ENTRYPOINT', () => {
    expect(request({}, ['echo', '-n', ''])).toEqual({ image: 'docker.io/library/alpine', args: ['echo', '-n', ''] });
    expect(request({ entrypoint: '/bin/sh' }, ['-c', 'true'])).toMatchObject({ command: ['/bin/sh'], args: ['-c', 'true'] });
    expect(request({ entrypoint: '/bin/sh' })).toEqual({ image: 'docker.io/library/alpine', command: ['/bin/sh'] });
  });

  it('has every flag in the contract’s units', () => {
    expect(
      request({
        memory: '256m',
        cpus: '0.5',
        'pids-limit': '64',
        'shm-size': '1m',
        timeout: '1m30s',
        'stop-timeout': '5',
        workdir: '/work',
        user: '1000:1000',
        hostname: 'box',
        init: true,
        'read-only': true,
        network: 'none',
        'max-attempts': '3',
        'on-quota': 'reject',
        'on-node-lost': 'retry',
        priority: '70',
        name: 'nightly',
        label: ['team=web', 'empty='],
      }),
    ).toEqual({
      image: 'docker.io/library/alpine',
      resources: { memoryBytes: 256 * 1024 ** 2, cpuMillis: 500, pids: 64, shmBytes: 1024 ** 2 },
      timeoutMs: 90_000,
      stopGraceMs: 5000,
      workingDir: '/work',
      user: '1000:1000',
      hostname: 'box',
      init: true,
      readOnlyRootfs: true,
      network: 'none',
      maxAttempts: 3,
      onQuota: 'reject',
      onNodeLost: 'retry',
      priority: 70,
      labels: { team: 'web', empty: '', name: 'nightly' },
    });
  });

  it('takes variables without a value from its own environment, and none that is not set', () => {
    expect(request({ env: ['A=1', 'B', 'C', 'D=x=y', 'E='] }, [], { B: 'from here' })).toMatchObject({
      env: { A: '1', B: 'from here', D: 'x=y', E: '' },
    });
  });

  it.each<[Values<typeof runFlags>, string]>([
    [{ memory: 'lots' }, '--memory lots: write a size'],
    [{ memory: '1k' }, '--memory: '],
    [{ cpus: '0.001' }, '--cpus: '],
    [{ timeout: '40d' }, '--timeout: '],
    [{ priority: '101' }, '--priority: '],
    [{ 'on-quota': 'maybe' }, '--on-quota: '],
    [{ network: 'host' }, '--network: '],
    [{ workdir: 'relative' }, '--workdir: must be absolute'],
    [{ hostname: 'a b' }, '--hostname: '],
    [{ env: ['=x'] }, '--env =x: write KEY=VALUE'],
    [{ env: ['A\nB=x'] }, '--env A\nB: '],
    [{ label: ['-bad=x'] }, '--label -bad: '],
    [{ entrypoint: 'a\0b' }, '--entrypoint: '],
  ])('refuses %j and says %j', (flags, message) => {
    expect(() => request(flags)).toThrow(message);
  });
});

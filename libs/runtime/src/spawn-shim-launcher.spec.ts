import { describe, expect, it } from 'vitest';
import { type ShimLaunch, ShimLaunchError } from './shim-launcher.js';
import { parseAnswer, SpawnShimLauncher, shimArguments } from './spawn-shim-launcher.js';

const launch: ShimLaunch = {
  id: 'a',
  runtime: '/r',
  runtimeRoot: '/root',
  runtimeArguments: [],
  bundle: '/b',
  directory: '/d',
  cgroupsPath: '/berth/a',
  timeoutMs: 1000,
  stopGraceMs: 500,
  stopSignal: 15,
  logMaxBytes: 4096,
  leaseFile: null,
};

describe('launching a shim', () => {
  it('has the command line that the shim reads', () => {
    expect(shimArguments(launch).join(' ')).toBe(
      '--id a --runtime /r --runtime-root /root --bundle /b --dir /d --cgroup /berth/a --timeout-ms 1000 --stop-grace-ms 500 --stop-signal 15 --log-max-bytes 4096',
    );
    expect(shimArguments({ ...launch, runtimeArguments: ['--a=1', '--b'] }).join(' ')).toContain(
      '--runtime-arg --a=1 --runtime-arg --b --bundle',
    );
    expect(shimArguments({ ...launch, leaseFile: '/lease' }).slice(-2)).toEqual(['--lease', '/lease']);
  });

  it('reads the answer', () => {
    expect(parseAnswer('{"pid":7,"startedAt":"2026-01-01T00:00:00Z"}\n', '')).toEqual({ pid: 7, startedAt: '2026-01-01T00:00:00Z' });
  });

  it.each([
    ['{"error":"no such bundle"}\n', '', 'no such bundle'],
    ['', 'usage: berth-shim', 'usage: berth-shim'],
    ['', '', 'gave no answer'],
    ['{"pid":"x"}\n', '', 'no usable answer'],
    ['null\n', '', 'no usable answer'],
  ])('throws for the answer %j and the complaint %j', (answer, complaint, message) => {
    expect(() => parseAnswer(answer, complaint)).toThrow(ShimLaunchError);
    expect(() => parseAnswer(answer, complaint)).toThrow(message);
  });

  it('throws when there is no such program, or when it never answers', async () => {
    await expect(new SpawnShimLauncher('/no/such/program').launch(launch)).rejects.toThrow(/cannot be started/);
    // It reads its options as a script's and waits for ever on nothing.
    await expect(new SpawnShimLauncher('/usr/bin/yes', 300).launch(launch)).rejects.toThrow(ShimLaunchError);
  });
});

/** podman, as Debian ships it, with berth-runtime for a runtime: from conmon's and podman's side nothing may differ from runc. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findCommand, findStaticBusybox } from '#scripts/setup/packages.mjs';
import { nativeDir } from '../native/bundle.js';

const busybox = findStaticBusybox();
const missing = findCommand('podman') === null ? 'podman' : busybox === null ? 'a static busybox' : undefined;

describe.skipIf(missing)(missing ? `podman with berth-runtime (skipped: ${missing} is not installed)` : 'podman with berth-runtime', () => {
  let dir: string;
  // Limits that any machine can give: podman's own default raises them.
  const limits = ['--network', 'none', '--ulimit', 'nofile=100:100', '--ulimit', 'nproc=100:100'];

  const podman = (...args: string[]) => {
    const at = (name: string): string => join(dir, name);
    const globals = [
      '--root',
      at('root'),
      '--runroot',
      at('run'),
      '--tmpdir',
      at('tmp'),
      '--storage-driver',
      'vfs',
      '--events-backend',
      'file',
    ];
    const runtime = ['--cgroup-manager', 'cgroupfs', '--runtime', resolve(nativeDir, 'berth-runtime')];
    const { status, stdout, stderr } = spawnSync('podman', [...globals, ...runtime, ...args], {
      encoding: 'utf8',
      timeout: 30_000,
      env: { ...process.env, PODMAN_IGNORE_CGROUPSV1_WARNING: '1' },
    });
    return { status, stdout: stdout.trim(), stderr };
  };
  const inspect = (format: string): string => podman('inspect', '--format', format, 'box').stdout;

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'berth-podman-'));
    const bin = join(dir, 'image/bin');
    mkdirSync(bin, { recursive: true });
    mkdirSync(join(dir, 'image/etc'));
    writeFileSync(join(dir, 'image/etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nmail:x:8:8:mail:/var/mail:/bin/sh\n');
    for (const applet of ['sh', 'sleep', 'cat', 'id', 'pwd', 'tty']) {
      copyFileSync(busybox ?? '', join(bin, applet));
      chmodSync(join(bin, applet), 0o755);
    }
    expect(spawnSync('tar', ['-C', join(dir, 'image'), '-cf', join(dir, 'image.tar'), '.']).status).toBe(0);
    expect(podman('import', join(dir, 'image.tar'), 'box:1').stderr).not.toContain('Error');
  });

  afterAll(() => {
    podman('rm', '--force', '--all', '--time', '0');
    rmSync(dir, { recursive: true, force: true });
  });

  it('runs a program and passes its output and status on', () => {
    expect(podman('run', '--rm', ...limits, 'box:1', 'sh', '-c', 'echo out; exit 3')).toMatchObject({ status: 3, stdout: 'out' });
  });

  it.each([
    ['/nowhere', 127],
    ['/etc/passwd', 126],
  ])('tells a program that does not start from one that fails: %s ends with %i', (program, status) => {
    expect(podman('run', '--rm', ...limits, 'box:1', program).status).toBe(status);
  });

  it('takes away what it was told to', () => {
    const outcome = podman(
      ...['run', '--rm', ...limits, '--read-only', '--cap-drop', 'all', '--user', 'mail', 'box:1'],
      ...[
        'sh',
        '-c',
        'id -u; echo $HOME; ulimit -n; while read k v; do [ $k = CapBnd: ] && echo $v; done </proc/self/status; echo x 2>/dev/null >/f',
      ],
    );
    expect(outcome).toMatchObject({ status: 1, stdout: '8\n/var/mail\n100\n0000000000000000' });
  });

  it('keeps a container through everything that podman does to one', () => {
    const script = 'trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.1; done';
    const started = podman('run', '-d', '--name', 'box', ...limits, '--pids-limit', '50', 'box:1', 'sh', '-c', script);
    expect(started.status, started.stderr).toBe(0);
    expect(podman('exec', '-u', '8', '-w', '/etc', '-e', 'X=1', 'box', 'sh', '-c', 'id -u; pwd; echo $X; exit 4')).toMatchObject({
      status: 4,
      stdout: '8\n/etc\n1',
    });
    expect(podman('exec', '-t', 'box', 'tty').stdout).toMatch(/^\/dev\/pts\/\d+$/);
    expect(podman('top', 'box', 'pid', 'comm').stdout).toMatch(/\n1 +sh/);
    expect(podman('pause', 'box').status).toBe(0);
    expect(inspect('{{.State.Status}}')).toBe('paused');
    expect(podman('unpause', 'box').status).toBe(0);
    expect(inspect('{{.State.Status}}')).toBe('running');
    expect(podman('logs', 'box').stdout).toBe('up');
    expect(podman('stop', '--time', '10', 'box').status).toBe(0);
    expect(inspect('{{.State.Status}} {{.State.ExitCode}}')).toBe('exited 5');
    expect(podman('logs', 'box').stdout).toBe('up\nbye');
    expect(podman('start', 'box').status).toBe(0);
    expect(podman('kill', 'box').status).toBe(0);
    expect(podman('wait', 'box').stdout).toBe('137');
    expect(podman('rm', 'box').status).toBe(0);
  });
});

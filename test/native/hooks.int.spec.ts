import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OciConfig, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

describe('hooks', () => {
  const hook = (script: string): unknown => ({ path: '/bin/sh', args: ['sh', '-c', script], env: ['PATH=/usr/bin:/bin'] });

  it('run at their stages with the state on stdin', async () => {
    const log = join(bundle.dir, 'hooks');
    const stages = ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop'];
    const outcome = bundle.create(['wait'], (config) => {
      config.hooks = Object.fromEntries(stages.map((stage) => [stage, [hook(`(echo ${stage}; cat; echo) >> ${log}`)]]));
      // The createContainer hook runs as the container's root, but in the host's files.
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'user');
      delete config.linux.uidMappings;
      delete config.linux.gidMappings;
    });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    const pid = bundle.pid();
    bundle.runtime(['start', bundle.id]);
    bundle.runtime(['delete', '--force', bundle.id]);
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    expect(lines.filter((_, i) => i % 2 === 0)).toEqual(stages);
    const states = lines.filter((_, i) => i % 2 === 1).map((line) => JSON.parse(line));
    expect(states.map(({ status }) => status)).toEqual(['created', 'creating', 'creating', 'running', 'stopped']);
    expect(states.slice(0, 4).every((state) => state.pid === pid && state.id === bundle.id)).toBe(true);
  });

  it('stop the creation when one fails, and leave nothing', () => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.hooks = { createRuntime: [hook('exit 3')] };
    });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain('createRuntime hook /bin/sh failed with status 3');
    expect(bundle.leftovers()).toEqual([]);
  });

  it('after the stop run when the creation fails, too: what others set up is torn down', () => {
    const log = join(bundle.dir, 'hooks');
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.hooks = { createRuntime: [hook(`echo up >> ${log}`), hook('exit 3')], poststop: [hook(`(echo down; cat) >> ${log}`)] };
    });
    expect(outcome.status).toBe(1);
    expect(readFileSync(log, 'utf8')).toMatch(/^up\ndown\n.*"status":"stopped"/);
  });

  it('after the start and the stop all run, whatever becomes of one', () => {
    const log = join(bundle.dir, 'hooks');
    const outcome = bundle.run(['exit', '7'], (config) => {
      config.hooks = {
        poststart: [hook('exit 4'), hook(`echo started >> ${log}`)],
        poststop: [hook('exit 5'), hook(`echo gone >> ${log}`)],
      };
    });
    expect(outcome.status).toBe(7);
    expect(outcome.stderr).toContain('warning');
    expect(readFileSync(log, 'utf8')).toBe('started\ngone\n');
  });

  it('are killed at their timeout', () => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.hooks = { prestart: [{ path: '/bin/sleep', args: ['sleep', '60'], timeout: 1 }] };
    });
    expect(outcome.stderr).toContain('prestart hook /bin/sleep: ');
  });

  it('tell in the error what they wrote to their standard error, on one line that steers no terminal', () => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.hooks = { createRuntime: [hook(String.raw`printf 'no\n\033[31mdisk\n' >&2; exit 3`)] };
    });
    expect(outcome.stderr).toBe('berth-runtime: createRuntime hook /bin/sh failed with status 3: no  [31mdisk\n');
  });

  it.each([
    ['write without end', 'head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 3', /failed with status 3: x{200,400}\n$/],
    ['close it and go on', 'exec 2>&-; sleep 0.2; exit 3', /failed with status 3\n$/],
    ['are killed', 'kill -9 $$', /was killed by signal 9\n$/],
  ])('may %s', (_, script, expected) => {
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.hooks = { createRuntime: [hook(script)] };
    });
    expect(outcome.stderr).toMatch(expected);
  });

  it('may leave it to another, which nobody waits for', () => {
    const log = join(bundle.dir, 'hooks');
    const outcome = bundle.run(['exit', '0'], (config) => {
      config.hooks = { createRuntime: [hook(`sleep 60 & echo $! > ${log}; echo gone >&2; exit 3`)] };
    });
    const pid = Number(readFileSync(log, 'utf8'));
    // There is still something to kill.
    expect(process.kill(pid, 'SIGKILL')).toBe(true);
    expect(outcome.stderr).toMatch(/failed with status 3: gone\n$/);
  });
});

describe('hooks before the start, which may be programs of the image', () => {
  const run = (args: string[], change: (config: OciConfig) => void = () => {}) =>
    bundle.run(['exit', '0'], (config) => {
      config.process.env = ['ONE=two'];
      for (const dir of ['bin', 'lib', 'lib64', 'usr'])
        config.mounts.push({ destination: `/${dir}`, type: 'bind', source: `/${dir}`, options: ['rbind', 'ro'] });
      config.hooks = { startContainer: [{ path: args[0], args }] };
      change(config);
    });
  const barMkdir = (config: OciConfig): void => {
    config.linux.seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_KILL_PROCESS' }],
    };
  };

  it.each([true, false])('run within the container’s filter (no_new_privs %s)', (noNewPrivileges) => {
    const args = ['/bin/mkdir', '/made'];
    const change = (config: OciConfig): void => {
      config.process.noNewPrivileges = noNewPrivileges;
    };
    expect(run(args, change)).toMatchObject({ status: 0, stderr: '' });
    bundle.runtime(['delete', '--force', bundle.id]);
    const outcome = run(['/bin/mkdir', '/other'], (config) => {
      change(config);
      barMkdir(config);
    });
    expect(outcome.stderr).toContain('startContainer hook /bin/mkdir was killed by signal 31');
    expect(outcome.status).toBe(1);
  });

  it('run where the filter bars pidfd_open, too', () => {
    const change = (config: OciConfig): void => {
      config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['pidfd_open'], action: 'SCMP_ACT_ERRNO' }] };
    };
    expect(run(['/bin/true'], change)).toMatchObject({ status: 0, stderr: '' });
    bundle.runtime(['delete', '--force', bundle.id]);
    expect(run(['/bin/sh', '-c', 'echo so >&2; exit 4'], change).stderr).toContain('failed with status 4: so');
  });

  it('have the environment of the container’s program, HOME and all, when they name none', () => {
    expect(run(['/bin/sh', '-c', 'test "$ONE" = two && test -n "$HOME"'])).toMatchObject({ status: 0, stderr: '' });
  });
});

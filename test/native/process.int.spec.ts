import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, closeSync, existsSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, HOST_BASE, type OciConfig, type Outcome, reportOf, runtimePath, statusField, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const setsOf = (outcome: Outcome): Record<string, bigint> => {
  const { status } = reportOf(outcome);
  return Object.fromEntries(
    ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((key) => [key, BigInt(`0x${statusField(status, key)}`)]),
  );
};
const bit = (...numbers: number[]): bigint => numbers.reduce((sum, n) => sum | (1n << BigInt(n)), 0n);

describe('the user', () => {
  it('has exactly the ids, groups and umask of the config', () => {
    const report = reportOf(
      bundle.run(['report'], (config) => {
        config.process.user = { uid: 1000, gid: 1001, additionalGids: [7, 8, 9], umask: 0o77 };
      }),
    );
    expect(report).toMatchObject({ uid: 1000, gid: 1001, groups: [7, 8, 9], umask: 0o77 });
    for (const key of ['Uid', 'Gid']) expect(new Set(statusField(report.status, key).split('\t')).size).toBe(1);
  });

  it('has no supplementary group of the runtime’s, and umask 022, by default', () => {
    expect(reportOf(bundle.run(['report']))).toMatchObject({ uid: 0, gid: 0, groups: [], umask: 0o22 });
  });

  it.each([-1, 4294967295, 4294967296, 1.5, '0'])('is refused with the uid %s', (uid) => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.user = { uid, gid: 0 };
    });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain('uid must be an integer from 0 to 4294967294');
  });

  it('is refused when the user namespace does not map it', () => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.user = { uid: 70000, gid: 0 };
    });
    expect(outcome.stderr).toContain('become user 70000');
  });

  it('may open its own standard output again when that is a pipe', () => {
    const { status, lines } = bundle.run(['write', '/dev/stdout', 'x'], (config) => {
      config.process.user = { uid: 1000, gid: 1000 };
    });
    expect(status).toBe(0);
    // A file of the test's is not given away.
    expect(lines[0]).toMatchObject({ ok: false, error: 'EACCES' });
  });
});

describe('capabilities', () => {
  it('are exactly the five sets asked for', () => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.capabilities = {
        bounding: ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_RAW', 'CAP_SETUID'],
        permitted: ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_RAW'],
        effective: ['CAP_CHOWN'],
        inheritable: ['CAP_KILL'],
        ambient: ['CAP_KILL'],
      };
      config.process.user = { uid: 1000, gid: 1000 };
    });
    // exec turns a non-root user's sets into the ambient ones (capabilities(7)).
    expect(setsOf(outcome)).toEqual({ CapInh: bit(5), CapPrm: bit(5), CapEff: bit(5), CapBnd: bit(0, 5, 13, 7), CapAmb: bit(5) });
  });

  it('of the container’s root are those of the bounding set, no more', () => {
    const sets = setsOf(bundle.run(['report']));
    const docker = bit(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31);
    expect(sets).toEqual({ CapInh: 0n, CapPrm: docker, CapEff: docker, CapBnd: docker, CapAmb: 0n });
  });

  it('are none when the config gives none', () => {
    const sets = setsOf(
      bundle.run(['report'], (config) => {
        delete config.process.capabilities;
      }),
    );
    expect(Object.values(sets)).toEqual([0n, 0n, 0n, 0n, 0n]);
  });

  it.each([[{ effective: ['CAP_KILL'] }, 'effective capabilities must be permitted']])(
    'that make no sense are refused: %o',
    (capabilities, message) => {
      const outcome = bundle.run(['report'], (config) => {
        config.process.capabilities = capabilities;
      });
      expect(outcome.stderr).toContain(message);
    },
  );

  it('that cannot be ambient are not, with a warning', () => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.capabilities = {
        bounding: ['CAP_KILL', 'CAP_CHOWN'],
        permitted: ['CAP_KILL', 'CAP_CHOWN'],
        inheritable: ['CAP_KILL'],
        ambient: ['CAP_KILL', 'CAP_CHOWN'],
      };
    });
    expect(outcome.stderr).toContain("can't raise ambient capability CAP_CHOWN: it is not both permitted and inheritable");
    expect(outcome.stderr).not.toContain('CAP_KILL');
    expect(setsOf(outcome)).toMatchObject({ CapAmb: bit(5) });
  });

  it('that nobody can give are left out with a warning', () => {
    const caps = ['CAP_CHOWN', 'CAP_FLY'];
    const outcome = bundle.run(['report'], (config) => {
      config.process.capabilities = { bounding: caps, effective: caps, permitted: caps };
    });
    expect(outcome.stderr).toContain('capability CAP_FLY is unknown and is not given');
    expect(setsOf(outcome)).toMatchObject({ CapEff: bit(0), CapBnd: bit(0) });
  });

  it('take effect: CAP_CHOWN is needed to chown', () => {
    const withIt = bundle.run(['create', '/a', 'x', 'chown', '/a', '5']);
    expect(withIt.lines[1]?.ok).toBe(true);
    const without = bundle.run(['create', '/b', 'x', 'chown', '/b', '5'], (config) => {
      config.process.capabilities = {};
    });
    expect(without.lines[1]).toMatchObject({ ok: false, error: 'EPERM' });
  });
});

it.each([true, false])('sets no_new_privs to %s', (on) => {
  const report = reportOf(
    bundle.run(['report'], (config) => {
      config.process.noNewPrivileges = on;
    }),
  );
  expect(statusField(report.status, 'NoNewPrivs')).toBe(on ? '1' : '0');
});

describe('limits', () => {
  it('of resources are set, soft and hard', () => {
    const { limits } = reportOf(
      bundle.run(['report'], (config) => {
        config.process.rlimits = [
          { type: 'RLIMIT_NOFILE', soft: 512, hard: 600 },
          { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
          { type: 'RLIMIT_STACK', soft: 1048576, hard: 18446744073709551615n.toString() as unknown as number },
        ].slice(0, 2);
      }),
    );
    expect(limits).toMatch(/Max open files\s+512\s+600/);
    expect(limits).toMatch(/Max core file size\s+0\s+0/);
  });

  it('may be infinite, which JSON writes as 2^64 - 1', () => {
    const config = bundle.config(['report']);
    config.process.rlimits = [{ type: 'RLIMIT_CPU', soft: 5, hard: 99 }];
    bundle.write(config);
    const path = join(bundle.dir, 'config.json');
    const text = JSON.stringify(config).replace('"hard":99', '"hard":18446744073709551615');
    writeFileSync(path, text);
    const outcome = bundle.runtime(['run', '-b', bundle.dir, bundle.id]);
    expect(reportOf(outcome).limits).toMatch(/Max cpu time\s+5\s+unlimited/);
  });

  it.each([
    [[{ type: 'RLIMIT_WINGS', soft: 1, hard: 1 }], 'unknown rlimit RLIMIT_WINGS'],
    [[{ type: 'RLIMIT_NOFILE', soft: 2, hard: 1 }], 'soft at most hard'],
    [
      [
        { type: 'RLIMIT_NOFILE', soft: 1, hard: 1 },
        { type: 'RLIMIT_NOFILE', soft: 1, hard: 1 },
      ],
      'given twice',
    ],
  ])('that make no sense are refused: %o', (rlimits, message) => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.rlimits = rlimits;
    });
    expect(outcome.stderr).toContain(message);
  });

  it('on the OOM killer’s choice are set', () => {
    const report = reportOf(
      bundle.run(['report'], (config) => {
        config.process.oomScoreAdj = 321;
      }),
    );
    expect(report.oom_score_adj.trim()).toBe('321');
  });
});

describe('environment and arguments', () => {
  it('are those of the config, with a HOME where it names none, and nothing else', () => {
    const env = ['A=1', 'B=x=y', 'PATH=/bin', 'EMPTY='];
    const config = bundle.config(['report']);
    config.process.env = env;
    bundle.write(config);
    const outcome = bundle.runtime(['run', '-b', bundle.dir, bundle.id], { env: { SECRET: 'host' } });
    expect(reportOf(outcome).env).toEqual([...env, 'HOME=/']);
  });

  it.each([
    [
      ['A=1', 'HOME=/old', 'AB=2', 'A=3', 'HOME=/new', 'A='],
      ['A=', 'HOME=/new', 'AB=2'],
    ],
    [
      ['HOME=/given', 'Z=1', 'HOME='],
      ['HOME=/', 'Z=1'],
    ],
  ])('have each name once, as it was given last: %o', (given, expected) => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.env = given;
    });
    expect(reportOf(outcome).env).toEqual(expected);
  });

  it.each(['NOEQUALS', '=x'])('are refused with the variable "%s"', (variable) => {
    const outcome = bundle.run(['report'], (config) => {
      config.process.env = ['A=1', variable];
    });
    expect(outcome.stderr).toContain('process.env[1] is not NAME=value');
  });

  it('find the program in the container’s PATH', () => {
    bundle.makeDir('opt/tools');
    symlinkSync('/probe', join(bundle.rootfs, 'opt/tools/mine'));
    const change = (path: string) => (config: OciConfig) => {
      config.process.args = ['mine', 'exit', '9'];
      config.process.env = [`PATH=${path}`];
    };
    expect(bundle.run([], change('/bin:/opt/tools')).status).toBe(9);
    expect(bundle.run([], change('/bin')).stderr).toContain('exec mine: executable file not found in $PATH');
  });

  it('say when the program may not be run', () => {
    writeFileSync(join(bundle.rootfs, 'plain'), 'x');
    chmodSync(join(bundle.rootfs, 'plain'), 0o644);
    const outcome = bundle.run([], (config) => {
      config.process.args = ['/plain'];
    });
    expect(outcome.stderr).toContain('exec /plain: permission denied');
  });

  it('say when the file is no program', () => {
    writeFileSync(join(bundle.rootfs, 'plain'), 'not a program');
    chmodSync(join(bundle.rootfs, 'plain'), 0o755);
    const outcome = bundle.run([], (config) => {
      config.process.args = ['/plain'];
    });
    expect(outcome.stderr).toContain('exec /plain: Exec format error');
    expect(bundle.leftovers()).toEqual([]);
  });
});

describe('the working directory', () => {
  it('is entered, and made when missing', () => {
    expect(
      reportOf(
        bundle.run(['report'], (config) => {
          config.process.cwd = '/made/on/the/way';
        }),
      ).cwd,
    ).toBe('/made/on/the/way');
  });

  it.each([
    ['the container’s root', 0],
    ['the user', 1000],
  ])('may be open to %s alone', (_, owner) => {
    chownSync(bundle.makeDir('closed'), HOST_BASE + owner, HOST_BASE + owner);
    chmodSync(join(bundle.rootfs, 'closed'), 0o700);
    const outcome = bundle.run(['report'], (config) => {
      config.process.cwd = '/closed';
      config.process.user = { uid: 1000, gid: 1000 };
      config.process.capabilities = {};
    });
    expect(reportOf(outcome)).toMatchObject({ cwd: '/closed', uid: 1000 });
  });

  it('of somebody outside the user namespace is closed to its root, too', () => {
    chownSync(bundle.makeDir('closed'), 0, 0);
    chmodSync(join(bundle.rootfs, 'closed'), 0o700);
    const outcome = bundle.run(['report'], (config) => {
      config.process.cwd = '/closed';
    });
    expect(outcome.stderr).toContain('enter the working directory /closed: Permission denied');
  });
});

describe('the AppArmor profile', () => {
  const enabled = existsSync('/sys/module/apparmor/parameters/enabled');
  const onProfile = (apparmorProfile: string) => (config: OciConfig) => {
    config.process.apparmorProfile = apparmorProfile;
  };

  it('may be "unconfined" on every kernel', () => {
    const outcome = bundle.run(['read', '/proc/self/attr/current'], onProfile('unconfined'));
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    if (enabled) expect(outcome.lines[0]?.text).toBe('unconfined\n');
  });

  it('is refused where it is not loaded, in exec too, and where nothing can be trusted to set it', () => {
    const missing = enabled ? 'berth-none is not loaded on this host' : 'this kernel has no AppArmor';
    expect(bundle.run(['exit', '0'], onProfile('berth-none')).stderr).toContain(missing);
    expect(bundle.leftovers()).toEqual([]);
    const faked = bundle.run(['exit', '0'], (config) => {
      onProfile('unconfined')(config);
      config.mounts = config.mounts.filter(({ type }) => type !== 'proc');
      Object.assign(config.linux, { maskedPaths: [], readonlyPaths: [] });
    });
    if (enabled) expect(faked.stderr).toContain('needs proc mounted at /proc');
    else expect(faked.status).toBe(0);
  });
});

describe('descriptors', () => {
  it('are the three standard ones, whatever the caller of the runtime has open', () => {
    const leak = openSync('/proc/self/status', 'r');
    try {
      expect(Object.keys(reportOf(bundle.run(['report'])).fds).sort()).toEqual(['0', '1', '2']);
    } finally {
      closeSync(leak);
    }
  });

  it.each([asHostRoot, () => {}])('that the caller leaks on purpose do not arrive', (change) => {
    const config = bundle.config(['report']);
    change(config);
    bundle.write(config);
    const { outcome } = leaky(bundle, []);
    expect(Object.keys(reportOf(outcome).fds).sort()).toEqual(['0', '1', '2']);
  });

  it('arrive when --preserve-fds asks for them', () => {
    bundle.write(bundle.config(['report']));
    const { outcome } = leaky(bundle, ['--preserve-fds', '2']);
    const { fds } = reportOf(outcome);
    expect(Object.keys(fds).sort()).toEqual(['0', '1', '2', '3', '4']);
    expect(fds[3]).toBe('/proc/version');
  });
});

/** Runs the bundle from a shell that leaves descriptors 3 to 5 open across exec. */
function leaky(container: TestBundle, flags: string[]): { outcome: Outcome } {
  const { stdout, stderr, status } = spawnSync(
    'sh',
    [
      '-c',
      'exec "$@" 3</proc/version 4</ 5</proc/self/status',
      'sh',
      runtimePath,
      '--root',
      container.stateRoot,
      'run',
      ...flags,
      '-b',
      container.dir,
      container.id,
    ],
    { encoding: 'utf8' },
  );
  const lines = stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return { outcome: { status, stdout, stderr, lines } };
}

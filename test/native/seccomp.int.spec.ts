import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AUDIT_ARCH, actionValue, evaluate, type Instruction, type Rule, verdict } from './bpf.js';
import { nativeDir, reportOf, statusField, TestBundle } from './bundle.js';

const X32_BIT = 0x40000000;
const ALLOW = actionValue('SCMP_ACT_ALLOW');
const EPERM = actionValue('SCMP_ACT_ERRNO', 1);
const ENOSYS = actionValue('SCMP_ACT_ERRNO', 38);
const KILL = actionValue('SCMP_ACT_KILL_PROCESS');

const abis = [
  { name: 'x86-64', column: 1, arch: AUDIT_ARCH.x86_64, base: 0 },
  { name: 'i386', column: 2, arch: AUDIT_ARCH.i386, base: 0 },
  { name: 'x32', column: 3, arch: AUDIT_ARCH.x86_64, base: X32_BIT },
] as const;

interface Compiled {
  program: Instruction[];
  syscalls: [string, number, number, number][];
}

const compile = (profile: unknown): Compiled => {
  const { stdout, stderr, status } = spawnSync(join(nativeDir, 'test/seccomp-dump'), { input: JSON.stringify(profile), encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
};

const profile = JSON.parse(readFileSync('native/seccomp/default.json', 'utf8'));
const args = (...values: (number | bigint)[]): bigint[] => [0, 0, 0, 0, 0, 0].map((zero, i) => BigInt(values[i] ?? zero));

describe('the compiler', () => {
  const condition = fc.record({
    index: fc.nat(5),
    value: fc.oneof(fc.nat(40), fc.constantFrom(0xffffffff, 0x100000000, 0x7e020000, 2 ** 52 + 1)),
    valueTwo: fc.oneof(fc.nat(3), fc.constant(0)),
    op: fc.constantFrom('NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ').map((op) => `SCMP_CMP_${op}`),
  });
  const rule = fc.record({
    names: fc.uniqueArray(fc.constantFrom('read', 'write', 'socket', 'clone', 'socketcall', 'personality', 'futex_time64', 'mseal'), {
      minLength: 1,
    }),
    action: fc.constantFrom('SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_ERRNO', 'SCMP_ACT_TRAP', 'SCMP_ACT_KILL_PROCESS'),
    args: fc.array(condition, { maxLength: 4 }),
  });
  const value = fc.oneof(fc.nat(40).map(BigInt), fc.bigInt(0n, 2n ** 64n - 1n), fc.constantFrom(0xffffffffn, 0x100000028n, 2n ** 52n + 1n));

  it('agrees with the plain reading of the rules, for any rules and any call', () => {
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 6 }),
        fc.array(fc.array(value, { minLength: 6, maxLength: 6 }), { minLength: 5, maxLength: 5 }),
        (rules, calls) => {
          const { program, syscalls } = compile({
            defaultAction: 'SCMP_ACT_ERRNO',
            defaultErrnoRet: 7,
            architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
            syscalls: rules,
          });
          for (const entry of syscalls.filter(
            ([name]) => rules.some(({ names }) => (names as string[]).includes(name)) || name === 'open',
          )) {
            for (const abi of abis) {
              const number = entry[abi.column];
              if (number < 0) continue;
              for (const values of calls) {
                // Registers of a 32-bit process have 32 bits.
                const seen = abi.name === 'i386' ? values.map((v) => v & 0xffffffffn) : values;
                const expected = verdict(rules as Rule[], actionValue('SCMP_ACT_ERRNO', 7), entry[0], seen, abi.name === 'i386');
                expect(evaluate(program, { arch: abi.arch, number: abi.base + number, args: seen }), `${entry[0]} ${abi.name}`).toBe(
                  expected,
                );
              }
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('kills calls of an ABI that the config does not list', () => {
    const { program } = compile({ defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_X86_64'], syscalls: [] });
    expect(evaluate(program, { arch: AUDIT_ARCH.x86_64, number: 0, args: args() })).toBe(ALLOW);
    expect(evaluate(program, { arch: AUDIT_ARCH.i386, number: 3, args: args() })).toBe(KILL);
    expect(evaluate(program, { arch: AUDIT_ARCH.x86_64, number: X32_BIT, args: args() })).toBe(KILL);
    expect(evaluate(program, { arch: 0xc00000b7, number: 0, args: args() })).toBe(KILL);
  });

  it('answers ENOSYS to numbers that nobody has given out yet, where the default is EPERM', () => {
    const { program } = compile(profile);
    for (const { arch, base } of abis) {
      expect(evaluate(program, { arch, number: base + 700, args: args() })).toBe(ENOSYS);
      expect(evaluate(program, { arch, number: base + 0x3fffffff, args: args() })).toBe(ENOSYS);
    }
  });

  it.each([
    [{ defaultAction: 'SCMP_ACT_NOPE' }, 'action "SCMP_ACT_NOPE" is not supported'],
    [{ defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: 1 }, 'does not fit its action'],
    [{ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 5000 }, 'does not fit its action'],
    [{ defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_VAX'] }, 'architecture "SCMP_ARCH_VAX" is not supported'],
    [{ defaultAction: 'SCMP_ACT_ALLOW', flags: ['SECCOMP_FILTER_FLAG_NOPE'] }, 'is not supported'],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['frobnicate'], action: 'SCMP_ACT_ERRNO' }] }, 'cannot restrict frobnicate'],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ action: 'SCMP_ACT_ERRNO' }] }, 'need names'],
    [
      {
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['read'], action: 'SCMP_ACT_ERRNO', args: [{ index: 6, value: 0, op: 'SCMP_CMP_EQ' }] }],
      },
      'index from 0 to 5',
    ],
  ])('refuses %o', (bad, message) => {
    expect(() => compile(bad)).toThrow(message);
  });

  it('skips an unknown name whose rule would only have allowed it', () => {
    expect(
      compile({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['frobnicate'], action: 'SCMP_ACT_ALLOW' }] }).program.length,
    ).toBeGreaterThan(0);
  });
});

describe('the default profile', () => {
  const { program, syscalls } = compile(profile);
  const numberOf = (name: string, column: 1 | 2 | 3): number => syscalls.find(([n]) => n === name)?.[column] ?? -1;
  const ask = (abi: (typeof abis)[number], name: string, ...values: (number | bigint)[]): number =>
    evaluate(program, { arch: abi.arch, number: abi.base + numberOf(name, abi.column), args: args(...values) });

  it.each(abis)('has no sockets but unix, inet, inet6 and netlink on $name', (abi) => {
    for (let family = 0; family < 64; family++) {
      expect(ask(abi, 'socket', family), `${family}`).toBe([1, 2, 10, 16].includes(family) ? ALLOW : EPERM);
      // The kernel reads an int: what the upper half of the register holds must not get a family past the filter.
      if (abi.name !== 'i386') expect(ask(abi, 'socket', BigInt(family) | (1n << 32n))).toBe(EPERM);
    }
  });

  it('lets socketcall make no socket at all, since its family is out of the filter’s sight', () => {
    expect(ask(abis[1], 'socketcall', 1)).toBe(EPERM);
    for (let call = 2; call <= 20; call++) expect(ask(abis[1], 'socketcall', call)).toBe(ALLOW);
  });

  it.each(abis)('makes no namespaces, by clone, clone3 or unshare, on $name', (abi) => {
    expect(ask(abi, 'clone', 0x1200011)).toBe(ALLOW);
    for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
      expect(ask(abi, 'clone', flag | 17)).toBe(EPERM);
    }
    expect(ask(abi, 'clone3', 0, 0)).toBe(ENOSYS);
    expect(ask(abi, 'unshare', 0x20000)).toBe(EPERM);
  });

  it.for(abis)('gives Docker’s verdicts on $name but for the documented, where Docker’s list is', (abi, { skip }) => {
    const docker = dockerRules();
    if (!docker) return skip(`Docker's list is not here: install golang-github-docker-docker-dev`);
    const differing: string[] = [];
    const vectors: bigint[][] = [
      args(),
      args(1),
      args(2),
      args(16),
      args(17),
      args(38),
      args(40),
      args(8),
      args(0x20000),
      args(0x20008),
      args(0xffffffff),
      args(0x7e020000),
      args(17, 1),
    ];
    for (const entry of syscalls) {
      const number = entry[abi.column];
      if (number < 0) continue;
      const narrow = abi.name === 'i386';
      const same = vectors.every(
        (values) =>
          evaluate(program, { arch: abi.arch, number: abi.base + number, args: values }) ===
          verdict(docker, EPERM, entry[0], values, narrow),
      );
      if (!same) differing.push(entry[0]);
    }
    const documented = documentedDifferences(docker).filter((name) => numberOf(name, abi.column) >= 0);
    expect(differing.sort()).toEqual(documented.sort());
  });
});

/** The names in the tables of docs/seccomp.md: the first is for every list of Docker's, the second for those before 26 besides. */
function documentedDifferences(docker: DockerRule[]): string[] {
  const [always = '', before26 = ''] = readFileSync('docs/seccomp.md', 'utf8').split('| since 20.10 |');
  const isOld = !docker.some(({ names }) => names.includes('cachestat'));
  const rows = (isOld ? always + before26 : always).split('\n').filter((line) => line.startsWith('| `'));
  return rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name ?? ''));
}

interface DockerRule extends Rule {
  includes?: { caps?: string[]; arches?: string[]; minKernel?: string };
  excludes?: { caps?: string[]; arches?: string[] };
}

const DOCKER_FILE = 'usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json';
const DOCKER_DEFAULT_CAPS = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
];

/** Docker's own list, from Debian's source package: installed, or fetched by apt for this test alone. */
function readDockerProfile(): { syscalls: DockerRule[] } | undefined {
  if (existsSync(`/${DOCKER_FILE}`)) return JSON.parse(readFileSync(`/${DOCKER_FILE}`, 'utf8'));
  const dir = mkdtempSync(join(tmpdir(), 'berth-docker-'));
  try {
    const { status } = spawnSync('apt-get', ['download', '-q', 'golang-github-docker-docker-dev'], { cwd: dir, encoding: 'utf8' });
    const [deb] = readdirSync(dir);
    if (status !== 0 || !deb) return undefined;
    spawnSync('dpkg', ['-x', deb, 'x'], { cwd: dir });
    return JSON.parse(readFileSync(join(dir, 'x', DOCKER_FILE), 'utf8'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Docker's rules as they apply to a container with its default capabilities on an amd64 machine of today. */
function dockerRules(): DockerRule[] | undefined {
  const has = (caps: string[] = []): boolean => caps.some((cap) => DOCKER_DEFAULT_CAPS.includes(cap.replace('CAP_', '')));
  return readDockerProfile()?.syscalls.filter(({ includes = {}, excludes = {} }) => {
    if (includes.caps && !includes.caps.every((cap) => has([cap]))) return false;
    if (includes.arches && !includes.arches.includes('amd64')) return false;
    return !has(excludes.caps) && !excludes.arches?.includes('amd64');
  });
}

describe('a container with the default profile', () => {
  let bundle: TestBundle;
  beforeEach(() => {
    bundle = new TestBundle();
  });
  afterEach(() => {
    bundle.dispose();
  });

  it.each([true, false])('is filtered, with no_new_privs %s', (noNewPrivileges) => {
    const ops = ['report', 'socket', '1', 'socket', '2', 'socket', '16', 'socket', '17', 'socket', '38', 'socket', '40'];
    const outcome = bundle.run(
      [...ops, 'syscall', 'x86_64', '435', '0', '0', '0', 'mount', '/sys', 'syscall', 'x86_64', '9999', '0', '0', '0'],
      (config) => {
        config.linux.seccomp = profile;
        config.process.noNewPrivileges = noNewPrivileges;
      },
    );
    expect(statusField(reportOf(outcome).status, 'Seccomp')).toBe('2');
    expect(outcome.lines.slice(1).map(({ error }) => error)).toEqual([
      undefined,
      undefined,
      undefined,
      'EPERM',
      'EPERM',
      'EPERM',
      'ENOSYS',
      'EPERM',
      'ENOSYS',
    ]);
  });

  it('is filtered in the 32-bit ABI too', () => {
    const i386 = (...values: number[]) => ['syscall', 'i386', ...values.map(String)];
    const outcome = bundle.run(
      [...i386(20, 0, 0, 0), ...i386(359, 38, 2, 0), ...i386(359, 2, 2, 0), ...i386(102, 1, 0, 0), ...i386(21, 0, 0, 0)],
      (config) => {
        config.linux.seccomp = profile;
      },
    );
    // getpid, socket(AF_ALG), socket(AF_INET), socketcall(SYS_SOCKET), mount
    expect(outcome.lines.map(({ error }) => error)).toEqual([undefined, 'EPERM', undefined, 'EPERM', 'EPERM']);
  });

  it('is what makes the difference: without it the same calls do other things', () => {
    const outcome = bundle.run(['report', 'syscall', 'x86_64', '435', '0', '0', '0', 'socket', '16']);
    expect(statusField(reportOf(outcome).status, 'Seccomp')).toBe('0');
    expect(outcome.lines[1]?.error).toBe('EINVAL');
  });

  it('dies of a call whose action is to kill', () => {
    const outcome = bundle.run(['syscall', 'x86_64', '102', '0', '0', '0', 'exit', '0'], (config) => {
      config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['getuid'], action: 'SCMP_ACT_KILL_PROCESS' }] };
    });
    expect(outcome.status).toBe(128 + 31);
    expect(bundle.leftovers()).toEqual([]);
  });
});

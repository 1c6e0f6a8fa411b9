/*
 * What podman and docker are asked to do with berth-runtime. Their command lines are alike; what is not is told by `own`.
 */

const image = 'box:1';
const loop = 'trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.2; done';
const limitFiles = '/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max';

/** @param {string[]} cli the engine and its global options; `own` what differs between them */
function steps(cli, at, own) {
  const step = (name, argv, rest = {}) => ({ name, argv: [...cli, ...argv], ...rest });
  const run = (options, ...command) => ['run', '--rm', '--network', 'none', ...own.limits, ...options, image, ...command];
  const service = (name, options, ...command) => [
    'run',
    '-d',
    '--name',
    name,
    '--network',
    'none',
    ...own.limits,
    ...options,
    image,
    ...command,
  ];
  return [
    step('imports an image', ['import', at('image.tar'), image]),
    step('runs it and exits as it does', run([], 'sh', '-c', 'echo hello; exit 3'), { status: 3, output: /^hello$/m }),
    step('filters its system calls', run([], 'grep', 'Seccomp:', '/proc/self/status'), { output: /Seccomp:\s+2/ }),
    step('has it on a terminal', run(['-it'], 'sh', '-c', 'tty; sleep 0.2; exit 7'), {
      terminal: true,
      status: 7,
      output: /\/dev\/pts\/0|\/dev\/console/,
    }),
    step('passes its input', run(['-i'], 'cat'), { input: 'in and out\n', output: /^in and out$/m }),
    step('has one that is not there', run([], '/nonexistent'), { status: 127 }),
    step('has one that may not be executed', run([], '/etc/passwd'), { status: 126 }),
    step('kills it for its memory', run(['--memory', '16m'], 'tail', '/dev/zero'), { status: 137 }),
    step('makes it another user', run(['--user', '1000:1000'], 'id', '-u'), { output: /^1000$/m }),
    step(
      'has a read-only root',
      run(['--read-only', '--tmpfs', '/t', '--cap-drop', 'all', ...own.init], 'sh', '-c', 'echo x >/t/x && ! echo y >/y'),
    ),
    step('gives it all', run(['--privileged'], 'grep', 'CapEff', '/proc/self/status'), { output: /CapEff:\s+0000[01]{2}[0-9a-f]+/ }),
    step('has a volume', run(['-v', `${at('volume')}:/v`], 'sh', '-c', 'cat /v/file; echo more >/v/other'), { output: /^kept$/m }),
    step('has a read-only volume', run(['-v', `${at('volume')}:/v:ro`], 'sh', '-c', 'cat /v/other && ! echo x >/v/x'), {
      output: /^more$/m,
    }),
    step('limits its files', run(['--ulimit', 'nofile=90:90'], 'sh', '-c', 'ulimit -n'), { output: /^90$/m }),
    step('sets a kernel parameter', run(['--sysctl', 'net.ipv4.ip_forward=1'], 'cat', '/proc/sys/net/ipv4/ip_forward'), { output: /^1$/m }),
    step('gives it a device', run(['--device', '/dev/null:/dev/nn'], 'sh', '-c', 'echo x >/dev/nn; ls /dev/nn'), {
      output: /^\/dev\/nn$/m,
    }),
    step('starts one that stays', service('aa', ['--memory', '64m', '--pids-limit', '50'], 'sh', '-c', loop)),
    step('executes in it', ['exec', 'aa', 'sh', '-c', 'echo in; exit 4'], { status: 4, output: /^in$/m }),
    step('executes as another', ['exec', '-u', '8', '-w', '/etc', '-e', 'X=1', 'aa', 'sh', '-c', 'id -u; pwd; echo "[$X]"'], {
      output: /^8\n\/etc\n\[1\]$/m,
    }),
    step('executes on a terminal', ['exec', '-it', 'aa', 'sh', '-c', 'tty; sleep 0.2; exit 6'], {
      terminal: true,
      status: 6,
      output: /\/dev\/pts\//,
    }),
    step('executes none that is not there', ['exec', 'aa', '/nonexistent'], own.execAbsent),
    step('lists its processes', ['top', 'aa'], { output: /sleep|trap/ }),
    step('counts what it uses', ['stats', '--no-stream', '--format', '{{.MemUsage}}', 'aa'], { output: /\/ ?(64MiB|67\.1\dMB)/ }),
    step('pauses it', ['pause', 'aa']),
    step('sees it paused', ['ps', '-a', '--format', '{{.Status}}'], { output: /paused/i }),
    step('lets it go on', ['unpause', 'aa']),
    step('changes its limits', ['update', '--memory', '128m', '--memory-swap', '128m', 'aa']),
    step('sees them changed', ['exec', 'aa', 'sh', '-c', `cat ${limitFiles} 2>/dev/null || true`], { output: /^134217728$/m }),
    step('copies out of it', ['cp', 'aa:/etc/passwd', at('copied')]),
    step('has its output', ['logs', 'aa'], { output: /^up$/m }),
    step('stops it with a signal that it heeds', ['stop', '-t', '5', 'aa']),
    step('knows how it ended', ['inspect', '-f', '{{.State.ExitCode}} {{.State.Status}}', 'aa'], { output: /^5 exited$/m }),
    step('has its last words', ['logs', 'aa'], { output: /^bye$/m }),
    step('starts it again', ['start', 'aa']),
    step('restarts it', ['restart', '-t', '1', 'aa']),
    step('kills it', ['kill', 'aa']),
    step('waits for it', ['wait', 'aa'], { output: /^137$/m }),
    step('removes it', ['rm', 'aa']),
    step('starts one that uses too much', service('oo', ['--memory', '16m'], 'sh', '-c', 'tail /dev/zero; sleep 30')),
    ...own.killed(step),
    step(
      'starts one with a check of its health',
      service('hh', ['--health-cmd', 'cat /etc/passwd', '--health-interval', '1s'], 'sleep', '60'),
    ),
    ...own.health(step),
    step('removes what is left', ['rm', '-f', ...own.atOnce, 'oo', 'hh']),
    step('keeps nothing', ['ps', '-a', '-q'], { output: /^$/ }),
  ];
}

export function podmanSteps(at) {
  const stores = ['--root', at('podman'), '--runroot', at('podman-run'), '--tmpdir', at('podman-tmp'), '--storage-driver', 'vfs'];
  const cli = ['podman', ...stores, '--events-backend', 'file', '--cgroup-manager', 'cgroupfs', '--runtime', at('berth-runtime')];
  return steps(cli, at, {
    // Its own default raises the limits, which not every machine can do.
    limits: ['--ulimit', 'nofile=100:100', '--ulimit', 'nproc=100:100'],
    execAbsent: { status: 127 },
    init: [],
    atOnce: ['-t', '0'],
    killed: () => [],
    health: (step) => [step('checks its health', ['healthcheck', 'run', 'hh'])],
  });
}

export function dockerSteps(at) {
  const built = [
    {
      name: 'builds on it',
      argv: ['docker', 'build', '--network', 'none', '-t', 'box:2', '-'],
      input: `FROM ${image}\nRUN echo built >/made\nCMD cat /made\n`,
    },
    { name: 'runs what was built', argv: ['docker', 'run', '--rm', '--network', 'none', 'box:2'], output: /^built$/m },
  ];
  const own = {
    limits: [],
    execAbsent: { status: 126 },
    init: ['--init'],
    atOnce: [],
    killed: (step) => [
      step('knows why it was killed', ['inspect', '-f', '{{.State.OOMKilled}}', 'oo'], { output: /^true$/m, within: 10_000 }),
    ],
    health: (step) => [
      step('checks its health', ['inspect', '-f', '{{.State.Health.Status}}', 'hh'], { output: /^healthy$/m, within: 10_000 }),
    ],
  };
  return [...steps(['docker'], at, own), ...built];
}

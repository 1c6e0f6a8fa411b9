/* What containerd's own client is asked to do with berth-runtime. */

export function ctrSteps(at) {
  const ctr = ['ctr', '--address', at('ctrd.sock'), '--namespace', 'peers'];
  const step = (name, argv, rest = {}) => ({ name, argv: [...ctr, ...argv], ...rest });
  const run = (options, id, ...command) => [
    'run',
    ...options,
    '--rootfs',
    '--runc-binary',
    at('berth-runtime'),
    at('image'),
    id,
    ...command,
  ];
  return [
    step('runs a program and exits as it does', run(['--rm'], 'one', 'sh', '-c', 'echo hello; id -u; exit 6'), {
      status: 6,
      output: /^hello\n0$/m,
    }),
    step('has it on a terminal', run(['--rm', '-t'], 'two', 'sh', '-c', 'tty; sleep 0.2; exit 2'), {
      terminal: true,
      status: 2,
      output: /\/dev\/(pts\/\d|console)/,
    }),
    step('starts one that stays', run(['-d'], 'three', 'sleep', '100')),
    step('executes in it', ['task', 'exec', '--exec-id', 'e1', 'three', 'sh', '-c', 'echo in; exit 5'], { status: 5, output: /^in$/m }),
    step('pauses it', ['task', 'pause', 'three']),
    step('sees it paused', ['task', 'ls'], { output: /three\s+\d+\s+PAUSED/ }),
    step('lets it go on', ['task', 'resume', 'three']),
    step('sees it run', ['task', 'ls'], { output: /three\s+\d+\s+RUNNING/ }),
    step('counts what it uses', ['task', 'metrics', 'three'], { output: /memory|pids/ }),
    step('lists its processes', ['task', 'ps', 'three'], { output: /^\d+/m }),
    step('kills it', ['task', 'kill', '-s', 'KILL', 'three']),
    step('sees it gone', ['task', 'ls'], { output: /three\s+\d+\s+STOPPED/, within: 5000 }),
    step('forgets its task, and tells how it ended', ['task', 'rm', 'three'], { output: /exit code 137/ }),
    step('removes it', ['container', 'rm', 'three']),
    step('keeps nothing', ['container', 'ls', '-q'], { output: /^$/ }),
  ];
}

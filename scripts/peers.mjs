/*
 * npm run peers -- [--root DIR] [podman] [docker] [ctr]
 *
 * The engines of others with berth-runtime for their runtime: one line of TAP for each thing they were asked to do. It takes those that are installed: on this
 * machine, or in DIR, the root of another Debian. It needs root, and keeps to a mount namespace and a directory of its own.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ctrSteps } from './peers/ctr.mjs';
import { dockerSteps, podmanSteps } from './peers/engines.mjs';
import { findStaticBusybox } from './setup/packages.mjs';

const { values, positionals } = parseArgs({ options: { root: { type: 'string' } }, allowPositionals: true });
const root = values.root === undefined ? '/' : resolve(values.root);
const runtime = resolve(import.meta.dirname, '../native/build/berth-runtime');

function refuse(message) {
  console.error(`peers: ${message}`);
  process.exit(2);
}

const wanted = positionals.length === 0 ? ['podman', 'docker', 'ctr'] : positionals;
for (const name of wanted) if (!['podman', 'docker', 'ctr'].includes(name)) refuse(`${name}: one of podman, docker, ctr`);
if (process.getuid?.() !== 0) refuse('this needs root');
if (!existsSync(runtime)) refuse('berth-runtime is not built: npm run setup');
const busybox = findStaticBusybox();
if (busybox === null) refuse('a static busybox is missing: apt-get install busybox-static');

/** Where the peers keep what they need, as they see it. */
const dir = root === '/' ? mkdtempSync(join(tmpdir(), 'berth-peers-')) : '/tmp/berth-peers';

/*
 * The peers' mount namespace, held by a shell. DIR becomes its root by pivot_root: in a chroot, whoever joins a container's mount namespace would find
 * himself at the namespace's own root, which is the host's.
 */
const enterRoot = `cd "$1" && mount --rbind . . && cd "$1" && for m in proc sys dev; do mount --rbind "/$m" "$m"; done &&
  for m in run tmp; do mount -t tmpfs tmpfs "$m"; done && mkdir -p tmp/old && pivot_root . tmp/old && umount -l tmp/old && rmdir tmp/old`;
// Nothing of the machine's own settings for containers.
const forgetSettings = `mkdir -p /etc/containers && mount -t tmpfs tmpfs /etc/containers &&
  echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json`;
const script = `set -e; ${root === '/' ? ':' : enterRoot}; ${forgetSettings}; echo ready; read -r end`;
const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', root], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const [said] = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')]);
if (!Buffer.isBuffer(said)) refuse(`cannot enter ${root}`);
/** The peers' view of a path as this process sees it. */
const seen = (path) => join(`/proc/${holder.pid}/root`, path);

function prepare() {
  mkdirSync(seen(`${dir}/image/bin`), { recursive: true });
  mkdirSync(seen(`${dir}/image/etc`));
  mkdirSync(seen(`${dir}/volume`));
  writeFileSync(seen(`${dir}/volume/file`), 'kept\n');
  writeFileSync(seen(`${dir}/image/etc/passwd`), 'root:x:0:0:root:/root:/bin/sh\nmail:x:8:8:mail:/var/mail:/bin/sh\n');
  const program = seen(`${dir}/image/bin/busybox`);
  for (const [from, to] of [
    [busybox, program],
    [runtime, seen(`${dir}/berth-runtime`)],
  ]) {
    copyFileSync(from, to);
    chmodSync(to, 0o755);
  }
  for (const applet of 'cat echo grep id ls pwd sh sleep stty tail tty'.split(' ')) linkSync(program, seen(`${dir}/image/bin/${applet}`));
  const { status, stderr } = spawnSync('tar', ['-C', seen(`${dir}/image`), '-cf', seen(`${dir}/image.tar`), '.'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tar: ${stderr}`);
}

const environment = {
  ...process.env,
  DOCKER_HOST: `unix://${dir}/docker.sock`,
  DOCKER_BUILDKIT: '0',
  PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
};
const commandOf = (argv) => ['nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, '--', ...argv];

/** Runs a command where the peers are; null for its status where it took too long. */
function ask(argv, { terminal = false, input } = {}) {
  const quoted = argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const [command, ...args] = commandOf(terminal ? ['script', '-qec', quoted, '/dev/null'] : argv);
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000, env: environment, input: input ?? '' });
  return { status, output: `${stdout}${stderr}`.replaceAll('\r', '').trim() };
}

const has = (name) => ask(['sh', '-c', `command -v ${name}`]).status === 0;

const counts = { passed: 0, failed: 0, skipped: 0 };
const total = () => counts.passed + counts.failed + counts.skipped;
async function check(peer, { name, argv, status = 0, output = /(?:)/, within = 0, ...options }) {
  const patience = Date.now() + within;
  for (;;) {
    const answer = ask(argv, options);
    const isRight = answer.status === status && output.test(answer.output);
    if (!isRight && Date.now() < patience) {
      await new Promise((done) => setTimeout(done, 200));
      continue;
    }
    counts[isRight ? 'passed' : 'failed']++;
    console.log(`${isRight ? 'ok' : 'not ok'} ${total()} ${peer}: ${name}`);
    if (!isRight) {
      console.log(
        `# ${argv.join(' ')}\n# expected ${status} and ${output}, got ${answer.status}\n# ${answer.output.replaceAll('\n', '\n# ')}`,
      );
    }
    return;
  }
}

/** Starts a daemon, waits until `isReady`, does `work` and ends it. */
async function beside(argv, isReady, work) {
  const [command, ...args] = commandOf(argv);
  const daemon = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: environment });
  let said = '';
  daemon.stderr.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-4000);
  });
  const ended = new Promise((done) => daemon.on('close', done));
  try {
    for (let waited = 0; !isReady(); waited += 200) {
      if (waited > 30_000 || daemon.exitCode !== null) throw new Error(`${argv[0]} did not start:\n${said}`);
      await new Promise((done) => setTimeout(done, 200));
    }
    await work();
  } finally {
    daemon.kill('SIGTERM');
    await ended;
  }
}

const at = (name) => join(dir, name);
const peers = {
  podman: async () => {
    for (const step of podmanSteps(at)) await check('podman', step);
  },
  docker: () => {
    const own = ['--data-root', at('docker'), '--exec-root', at('x'), '--pidfile', at('docker.pid'), '--host', environment.DOCKER_HOST];
    const network = ['--bridge=none', '--iptables=false', '--ip6tables=false'];
    const argv = ['dockerd', ...own, ...network, '--storage-driver', 'vfs', '--add-runtime', `berth=${at('berth-runtime')}`];
    return beside(
      [...argv, '--default-runtime', 'berth'],
      () => ask(['docker', 'version']).status === 0,
      async () => {
        for (const step of dockerSteps(at)) await check('docker', step);
      },
    );
  },
  ctr: () => {
    const argv = ['containerd', '--root', at('ctrd'), '--state', at('c'), '--address', at('ctrd.sock')];
    return beside(
      argv,
      () => ask(['ctr', '--address', at('ctrd.sock'), 'version']).status === 0,
      async () => {
        for (const step of ctrSteps(at)) await check('ctr', step);
      },
    );
  },
};
const programs = { podman: ['podman', 'conmon'], docker: ['dockerd', 'docker'], ctr: ['containerd', 'ctr'] };

try {
  prepare();
  for (const name of wanted) {
    const absent = programs[name].find((program) => !has(program));
    if (absent === undefined) {
      await peers[name]();
    } else {
      counts.skipped++;
      console.log(`ok ${total()} ${name} # SKIP ${absent} is not installed${root === '/' ? '' : ` in ${root}`}`);
    }
  }
} finally {
  holder.stdin.end('end\n');
  await once(holder, 'exit');
  if (root === '/') rmSync(dir, { recursive: true, force: true });
}
console.log(`1..${total()}\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);

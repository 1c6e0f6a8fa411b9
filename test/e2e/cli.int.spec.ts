import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { eventually, freePort } from '@berth/testing';
import type { Run } from '@berth/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestService, type TestTenant } from '../support/service.js';

interface Outcome {
  code: number | null;
  stdout: Buffer;
  text: string;
  stderr: string;
}

const program = fileURLToPath(new URL('../../../apps/cli/bin/berth.js', import.meta.url));
const root = fileURLToPath(new URL('../../../', import.meta.url));
const small = ['--memory', '32m', '--cpus', '0.1'];

describe('berth', { timeout: 180_000 }, () => {
  let test: TestService;
  let tenant: TestTenant;

  beforeAll(async () => {
    test = await TestService.start({ agents: [{ name: 'one' }] });
    tenant = await test.tenant('cli');
  });
  afterAll(() => test?.stop());

  function start(args: readonly string[], env: Record<string, string> = {}): { child: ChildProcess; done: Promise<Outcome> } {
    const child = spawn(process.execPath, [program, ...args], {
      env: { PATH: process.env.PATH, BERTH_HOME: test.home, BERTH_API_KEY: tenant.key, ...env },
    });
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    const done = once(child, 'close').then(([code]) => {
      const out = Buffer.concat(stdout);
      return { code: code as number | null, stdout: out, text: out.toString(), stderr: Buffer.concat(stderr).toString() };
    });
    return { child, done };
  }
  const berth = (...args: string[]): Promise<Outcome> => start(args).done;
  const run = (...args: string[]): Promise<Outcome> => berth('run', ...small, ...args);
  const sh = (script: string, ...flags: string[]): Promise<Outcome> => run(...flags, '--entrypoint', '/bin/sh', tenant.image, '-c', script);
  const detached = async (script: string, ...flags: string[]): Promise<string> => (await sh(script, '-d', ...flags)).text.trim();

  it('runs a container, passes its two streams on and exits with its code', async () => {
    expect(await sh('echo out; echo err >&2; exit 37')).toMatchObject({ code: 37, text: 'out\n', stderr: 'err\n' });
    expect(await sh('true')).toMatchObject({ code: 0, text: '', stderr: '' });
  });

  it('passes on every byte, whatever it is', async () => {
    const outcome = await sh('head -c 300000 /dev/urandom > /tmp/x; echo >> /tmp/x; sha256sum < /tmp/x >&2; cat /tmp/x', '--memory', '64m');
    expect(outcome.code).toBe(0);
    expect(outcome.stdout).toHaveLength(300_001);
    expect(outcome.stderr.split(' ')[0]).toBe(createHash('sha256').update(outcome.stdout).digest('hex'));
  });

  it('shows both streams in their order on a terminal', async () => {
    const text = 'echo 1; sleep 0.1; echo 2 >&2; sleep 0.1; echo 3';
    const line = [process.execPath, program, 'run', ...small, '--entrypoint', '/bin/sh', tenant.image, '-c', `'${text}'`].join(' ');
    const env = { PATH: process.env.PATH, BERTH_HOME: test.home, BERTH_API_KEY: tenant.key };
    // script(1) gives the command a pseudo-terminal.
    const child = spawn('script', ['--quiet', '--return', '--command', line, '/dev/null'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const shown: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => shown.push(chunk));
    const [code] = (await once(child, 'close')) as [number];
    expect([code, Buffer.concat(shown).toString()]).toEqual([0, '1\r\n2\r\n3\r\n']);
  });

  it('makes an image of what a container changed, and nothing else', async () => {
    const change = 'mkdir /opt/made; echo one > /opt/made/file; echo two >> /etc/passwd; rm /bin/sleep; ln -s made /opt/link';
    const before = (await sh('find / -xdev | sort')).text.split('\n');
    const id = await detached(`mkdir -p /opt; ${change}; trap exit TERM; echo changed; while :; do :; done`);
    await eventually(async () => expect((await berth('logs', id)).text).toBe('changed\n'), { timeoutMs: 20_000 });
    const listed = (await berth('diff', id)).text.split('\n');
    expect(listed).toEqual(expect.arrayContaining(['A /opt/made', 'A /opt/made/file', 'A /opt/link', 'D /bin/sleep', 'C /etc/passwd']));
    const made = await berth('commit', id, 'changed:v2');
    expect(made, made.stderr).toMatchObject({
      code: 0,
      text: expect.stringMatching(/^registry\.berth\/cli-?\w*\/changed:v2@sha256:[0-9a-f]{64}\n$/),
    });
    // It goes on after that.
    expect((await berth('diff', id)).code).toBe(0);
    expect((await berth('stop', id)).code).toBe(0);
    const image = made.text.trim().replace(/@.*/, '');
    const shown = await run('--entrypoint', '/bin/sh', image, '-c', 'cat /opt/link/file; tail -n 1 /etc/passwd; find / -xdev | sort');
    expect(shown, shown.stderr).toMatchObject({ code: 0, text: expect.stringMatching(/^one\ntwo\n/) });
    const after = shown.text.split('\n').slice(2);
    expect(after.filter((path) => !before.includes(path))).toEqual(
      ['/opt', '/opt/link', '/opt/made', '/opt/made/file'].filter((path) => !before.includes(path)),
    );
    expect(before.filter((path) => !after.includes(path))).toEqual(['/bin/sleep']);
    // Others' tools take it for an image, too.
    const there = image.replace('registry.berth', new URL(test.service.registryUrl).host);
    const args = [
      'inspect',
      '--tls-verify=false',
      '--creds',
      `key:${tenant.key}`,
      '--format',
      '{{.Digest}} {{len .Layers}}',
      `docker://${there}`,
    ];
    const { stdout: seen } = await promisify(execFile)('skopeo', args);
    expect(seen.trim()).toBe(`${made.text.trim().replace(/.*@/, '')} 2`);
    expect((await berth('image', 'rm', image)).code).toBe(0);
  });

  it('gives the container what the flags say', async () => {
    const script = 'echo "$A|$B|$(pwd)|$(id -u):$(id -g)|$(hostname)"; touch /x 2>/dev/null && echo writable; echo "$0 $1"';
    const flags = ['-e', 'A=1=2', '-e', 'B', '-w', '/tmp', '-u', '1000:1001', '--hostname', 'box', '--read-only', '--init'];
    const { done } = start(['run', ...small, ...flags, '--entrypoint', '/bin/sh', tenant.image, '-c', script, 'zero', '--one'], {
      B: 'from here',
    });
    expect(await done).toMatchObject({ code: 0, text: '1=2|from here|/tmp|1000:1001|box\nzero --one\n' });
  });

  it('says why a run failed where the exit code does not', async () => {
    const slow = await sh('sleep 60', '--timeout', '1s', '--stop-timeout', '1s');
    expect(slow.code).toBeGreaterThan(128);
    expect(slow.stderr).toContain('failed (timeout, the container)');
    const greedy = await sh('x=a; while :; do x=$x$x; done', '--memory', '16m');
    expect(greedy.code).toBe(137);
    expect(greedy.stderr).toContain('outOfMemory');
    const missing = await run(tenant.image.replace(/busybox.*/, 'none:latest'));
    expect(missing.code).toBe(125);
    expect(missing.stderr).toMatch(/^error: /);
  });

  it('shows images and what they share, and moves them through files', async () => {
    const name = tenant.image.replace(/:latest$/, '');
    const copy = name.replace('busybox', 'copy');
    const file = join(test.home, 'image.tar');
    const digest = (await berth('image', 'export', tenant.image, file)).text.trim();
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await berth('image', 'import', file, `${copy}:v2`)).toMatchObject({ code: 0, text: `${copy}@${digest}\n` });
    expect((await run('--entrypoint', '/bin/echo', `${copy}:v2`, 'from', 'a', 'file')).text).toBe('from a file\n');

    const listed = (await berth('images', '--digests')).text.split('\n');
    expect(listed[0]).toMatch(/^REPOSITORY +TAG +DIGEST +IMAGE ID +PUSHED +SIZE$/);
    expect(listed.filter((line) => line.includes(digest)).map((line) => line.split(/ +/).slice(0, 2))).toEqual([
      [name, 'latest'],
      [copy, 'v2'],
    ]);
    const { images } = JSON.parse((await berth('df', '--json')).text) as { images: { sumOfImagesBytes: number; totalBytes: number } };
    expect(images.sumOfImagesBytes).toBe(2 * images.totalBytes);
    expect((await berth('df', '-v')).text).toMatch(/^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nImages +2 /);
    expect((await berth('history', tenant.image)).text).toMatch(/^LAYER +CREATED +CREATED BY +SIZE +COMMENT\n[0-9a-f]{12} /);

    expect(await berth('image', 'rm', `${copy}:v2`)).toMatchObject({ code: 0, text: `Untagged: ${copy}:v2\nDeleted: ${copy}@${digest}\n` });
    expect((await run(`${copy}:v2`)).code).toBe(125);
    const refusal = await berth('image', 'import', '/etc/passwd', `${copy}:v3`);
    expect([refusal.code, refusal.stderr]).toEqual([125, 'error: the archive is not as it should be: it is no tar file (layerRejected)\n']);
  });

  it('stops the run on Ctrl-C and shows what it still has to say', async () => {
    const flags = ['--entrypoint', '/bin/sh', tenant.image, '-c', 'trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.1; done'];
    const { child, done } = start(['run', ...small, ...flags]);
    await once(child.stdout!, 'data');
    child.kill('SIGINT');
    const outcome = await done;
    expect(outcome.text).toBe('ready\nbye\n');
    expect(outcome.code).toBe(9);
    expect(outcome.stderr).toContain('was canceled');
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)(
    'goes on after a %s of the control plane, and misses nothing and repeats nothing',
    async (signal) => {
      const lines = 40;
      const script = `i=0; while [ $i -lt ${lines} ]; do echo line $i; i=$((i+1)); sleep 0.2; done; exit 6`;
      const { child, done } = start(['run', ...small, '--entrypoint', '/bin/sh', tenant.image, '-c', script]);
      await once(child.stdout!, 'data');
      test.service.controlPlane.kill(signal);
      const outcome = await done;
      expect(outcome.text).toBe(Array.from({ length: lines }, (_, index) => `line ${index}\n`).join(''));
      expect(outcome.code).toBe(6);
    },
  );

  it('quotes a run without submitting it', async () => {
    const before = (await berth('ps', '-a', '-q')).text;
    const quoted = await berth('run', '--dry-run', ...small, tenant.image);
    expect(quoted).toMatchObject({ code: 0, stderr: '' });
    expect(quoted.text).toMatch(/^would be admitted at once: a node has room.*\n +estimated start: now\nimage +sha256:/);
    expect(await berth('run', '--dry-run', '-m', '9999g', tenant.image)).toMatchObject({ code: 125 });
    expect((await berth('ps', '-a', '-q')).text).toBe(before);
  });

  it('leaves a run to itself, lists it, follows it, stops it, forgets it', async () => {
    const id = await detached('i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.2; done', '--name', 'ticker', '-l', 'a=b');
    expect(id).toMatch(/^run_/);
    await tenant.reached(id, ['running']);
    const listed = await berth('ps');
    expect(listed.text).toMatch(new RegExp(`^RUN +IMAGE +STATE.*\n(.*\n)*${id}  .*running .* ticker\n`));
    expect((await berth('ps', '-q', '--label', 'a=b')).text).toBe(`${id}\n`);
    expect((JSON.parse((await berth('ps', '--json')).text) as Run[]).map((one) => one.id)).toContain(id);
    expect((await berth('wait', '--timeout', '300ms', 'ticker')).code).toBe(124);

    const following = start(['logs', '-f', 'ticker']);
    await once(following.child.stdout!, 'data');
    expect(await berth('rm', 'ticker')).toMatchObject({ code: 125, stderr: expect.stringContaining('error: ') });
    expect(await berth('stop', 'ticker')).toMatchObject({ code: 0, text: `${id}\n` });
    const followed = await following.done;
    expect(followed.code).toBe(0);
    expect(followed.text).toMatch(/^tick 0\ntick 1\n/);
    expect((await berth('logs', id)).text).toBe(followed.text);

    expect((await berth('ps', '-q')).text).not.toContain(id);
    expect((await berth('ps', '-a')).text).toContain(`${id}  `);
    expect((await berth('ps', '--state', 'canceled', '-q')).text).toContain(id);
    expect(JSON.parse((await berth('inspect', 'ticker')).text)).toMatchObject({ id, state: 'canceled', spec: { labels: { a: 'b' } } });
    const used = (await berth('usage', '--label', 'a')).text;
    expect(used).toMatch(/^DAY +A +RUNS +RAN .*\n\S+ +b +1 /);
    expect((await berth('rm', 'ticker')).code).toBe(0);
    expect((await berth('usage', '--label', 'a')).text).toBe(used);
    expect(await berth('inspect', id)).toMatchObject({ code: 125, text: '' });
    expect(await berth('inspect', 'ticker')).toMatchObject({ code: 2 });
  });

  it('waits for exit codes, and forgets a run of --rm', async () => {
    const [one, two] = await Promise.all([detached('exit 3'), detached('exit 4')]);
    expect(await berth('wait', one, two)).toMatchObject({ code: 0, text: '3\n4\n' });
    expect(await berth('wait', '--exit-code', two)).toMatchObject({ code: 4 });
    expect(await sh('exit 5', '--rm', '--name', 'fleeting')).toMatchObject({ code: 5 });
    expect((await berth('inspect', 'fleeting')).code).toBe(2);
  });

  it('makes one run of one idempotency key', async () => {
    const key = ['--idempotency-key', 'once'];
    const first = await detached('true', ...key);
    expect(await detached('true', ...key)).toBe(first);
    expect(await sh('false', '-d', ...key)).toMatchObject({ code: 125, stderr: expect.stringContaining('error: ') });
  });

  it('shows a quota’s numbers when it refuses', async () => {
    const poor = await test.tenant('poor', { concurrentRuns: 1, cpuMillis: 1000, memoryBytes: 64 << 20 });
    const own = { BERTH_API_KEY: poor.key };
    const never = await start(['run', '--memory', '1g', poor.image], own).done;
    expect(never.code).toBe(125);
    expect(never.stderr).toContain('memoryBytes: limit 64 MiB');
    const hold = await start(['run', '-d', ...small, '--entrypoint', 'sleep', poor.image, '60'], own).done;
    const over = await start(['run', '--on-quota', 'reject', ...small, poor.image], own).done;
    expect(over.code).toBe(125);
    expect(over.stderr).toMatch(/concurrentRuns: limit 1 runs, used 1 runs, requested 1 runs\n {2}try again in [0-9]+ s/);
    expect((await start(['quota'], own).done).text).toMatch(/concurrentRuns +1 runs +1 runs/);
    await start(['rm', '-f', hold.text.trim()], own).done;
  });

  it('tells a wrong key and an absent service from a refusal', async () => {
    const wrong = await start(['ps'], { BERTH_API_KEY: `berth_${'0'.repeat(32)}` }).done;
    expect(wrong).toMatchObject({ code: 125, stderr: expect.stringContaining('check BERTH_API_KEY') });
    const absent = await start(['ps'], { BERTH_URL: `http://127.0.0.1:${await freePort()}` }).done;
    expect(absent).toMatchObject({ code: 125, stderr: expect.stringContaining('cannot be reached (ECONNREFUSED)') });
    const other = await start(['ps'], { BERTH_URL: test.service.registryUrl }).done;
    expect(other).toMatchObject({ code: 125, stderr: expect.stringContaining('that is not Berth') });
  });

  it('administers tenants, keys and nodes with the admin key of keys.json', async () => {
    const admin = (...args: string[]): Promise<Outcome> => start(args, { BERTH_API_KEY: '' }).done;
    const created = await admin('tenants', 'create', 'made', '--runs', '2', '--memory', '1g', '--require-digest', 'yes');
    expect(created).toMatchObject({ code: 0, text: expect.stringMatching(/^ten_/) });
    expect((await admin('tenants', 'update', 'made', '--cpus', '1.5')).text).toMatch(/cpuMillis +0 cpus +1.5 cpus/);
    expect((await admin('tenants', 'update', 'made', '--retain-runs', '7d')).text).toContain('ended runs are kept for 7d');
    expect((await admin('tenants', 'update', 'made', '--retain-runs', 'default')).text).not.toContain('are kept');
    expect((await admin('tenants', 'usage', '--csv')).text).toMatch(/^day,tenant,runs,/);
    expect((await admin('tenants', 'ls')).text).toMatch(/ten_\S+ +made +0\/2 +0\/1.5 +0 B\/1 GiB/);
    const secret = (await admin('keys', 'create', '--tenant', 'made', '--name', 'ci', '--expires', '1h')).text.trim();
    expect(await start(['ps'], { BERTH_API_KEY: secret }).done).toMatchObject({ code: 0 });
    const [key] = JSON.parse((await admin('keys', 'ls', '--tenant', 'made', '--json')).text) as { id: string; name: string }[];
    expect(key).toMatchObject({ name: 'ci' });
    expect((await admin('keys', 'revoke', '--tenant', 'made', key!.id)).code).toBe(0);
    expect(await start(['ps'], { BERTH_API_KEY: secret }).done).toMatchObject({ code: 125 });
    expect((await admin('nodes', 'ls')).text).toMatch(/node_\S+ +one +ready/);
    expect((await admin('nodes', 'drain', 'one')).text).toMatch(/draining/);
    expect((await admin('nodes', 'undrain', 'one')).text).toMatch(/ready/);
    expect((await admin('join-token', '--uses', '2', '--expires', '5m')).text).toMatch(/^bjoin_\w{32}\n$/);
    expect(await berth('tenants', 'ls')).toMatchObject({ code: 125, stderr: expect.stringContaining('error: ') });
  });

  it('is what npx finds in the checkout', async () => {
    const child = spawn('npx', ['--no-install', 'berth', '--help'], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const [code] = (await once(child, 'close')) as [number];
    expect([code, text]).toEqual([0, expect.stringContaining('Usage: berth COMMAND')]);
  });

  it('leaves nothing of its runs behind', async () => {
    await test.service.stop();
    expect(await test.leftovers()).toEqual([]);
  });
});

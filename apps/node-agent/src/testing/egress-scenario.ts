import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { processesOf } from './host-state.js';
import { TestNode } from './test-node.js';

/*
 * A machine in a network namespace of its own (the test starts this program in a fresh one), the outside in another, an agent between the two, and containers
 * that try to reach what they may and what they may not. Prints what they found as one line of JSON.
 */
const run = promisify(execFile);
const ip = async (...args: string[]) => run('ip', args);

const outside = { address: '203.0.113.1', address6: '2001:db8:1::1', resolver: '203.0.113.1' };
const host = { address: '203.0.113.2', address6: '2001:db8:1::2' };
const inner = { private: '10.20.30.40', metadata: '169.254.169.254', unique6: 'fd00:ec2::254', denied: '198.51.100.9' };

async function openInternet(): Promise<{ readonly pid: number; close(): Promise<void> }> {
  const program = fileURLToPath(new URL('./internet.js', import.meta.url));
  const child = spawn('unshare', ['--net', process.execPath, program], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const there = (...args: string[]) => run('nsenter', ['--target', String(pid), '--net', 'ip', ...args]);
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1', 'netns', String(pid));
  await ip('addr', 'add', `${host.address}/24`, 'dev', 'up0');
  await ip('-6', 'addr', 'add', `${host.address6}/64`, 'dev', 'up0', 'nodad');
  await ip('link', 'set', 'up0', 'up');
  await there('link', 'set', 'lo', 'up');
  for (const address of [`${outside.address}/24`, inner.private, inner.metadata, inner.denied])
    await there('addr', 'add', address, 'dev', 'up1');
  for (const address of [`${outside.address6}/64`, inner.unique6]) await there('-6', 'addr', 'add', address, 'dev', 'up1', 'nodad');
  await there('link', 'set', 'up1', 'up');
  await ip('route', 'add', 'default', 'via', outside.address);
  await ip('-6', 'route', 'add', 'default', 'via', outside.address6);
  return {
    pid,
    async close() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

/** A script that tries TCP to each target at once and prints `NAME=ANSWER` for each; an empty answer is none. */
function scan(targets: Readonly<Record<string, readonly [string, number]>>): string {
  const tries = Object.entries(targets).map(
    ([name, [address, port]]) => `{ a=$(busybox nc -w 3 ${address} ${port} </dev/null 2>/dev/null); echo "${name}=$a"; } &`,
  );
  return `${tries.join('\n')}\nwait\n`;
}

function found(output: string): Record<string, string> {
  return Object.fromEntries(
    output
      .split('\n')
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

async function scenario(node: TestNode): Promise<object> {
  const secret = createServer((socket) => socket.on('error', () => {}).end('host\n')).listen(7777, '::');
  await chmod(node.directory, 0o711);
  await node.startAgent({
    // Some start in a sandbox that has its link already, some without.
    BERTH_POOL_SANDBOXES: '1',
    BERTH_EGRESS: '1',
    BERTH_EGRESS_DNS: outside.resolver,
    BERTH_EGRESS_DENY: inner.denied,
  });
  const shell = (script: string) => ({ network: 'egress' as const, command: ['/bin/sh', '-c', script] });

  const neighbour = node.assignment(
    shell('busybox ip -4 -o addr show eth0; echo up; while :; do echo neighbour | busybox nc -l -p 9000; done'),
  );
  node.server.assign(neighbour);
  await node.outputs(neighbour, 'up');
  const neighbourAddress = /inet ([0-9.]+)\//.exec((await outputSoFar(node, neighbour)) ?? '')?.[1] ?? '';
  const hostEnd = neighbourAddress.replace(/\d+$/, (last) => String(Number(last) - 1));
  const targets: Record<string, readonly [string, number]> = {
    outside: [outside.address, 80],
    outside6: [outside.address6, 80],
    host: [host.address, 7777],
    host6: [host.address6, 7777],
    hostEnd: [hostEnd, 7777],
    denied: [inner.denied, 80],
    private: [inner.private, 80],
    metadata: [inner.metadata, 80],
    unique6: [inner.unique6, 80],
    neighbour: [neighbourAddress, 9000],
  };
  const guarded = found((await node.run(shell(scan(targets)))).output);
  const names = (await node.run(shell('busybox nslookup name.example | grep -c 198.51.100.7; cat /etc/resolv.conf'))).output;
  const none = (await node.run({ network: 'none', command: ['/bin/sh', '-c', 'busybox ip -o link | wc -l'] })).output;
  // As a container with every right over its network could.
  const [pid] = await processesOf(neighbour.runId);
  const within = (...args: string[]) =>
    run('nsenter', ['--target', String(pid), '--net', ...args]).catch((error: { stdout?: string }) => error);
  await within('ip', 'addr', 'add', '203.0.113.99/32', 'dev', 'eth0');
  const isBelieved = async () => {
    const lie = `const s = require('dgram').createSocket('udp4'); s.bind(0, '203.0.113.99', () => s.send(Buffer.alloc(20), 53, '${outside.resolver}', () => s.close()))`;
    await within(process.execPath, '-e', lie);
    const said = await run('busybox', ['nc', '-w', '2', outside.address, '80']).catch((error: { stdout?: string }) => error);
    return (said.stdout ?? '').includes('203.0.113.99');
  };
  const spoofed = await isBelieved();

  // The positive control: with nothing left of the rules but the change of addresses, the same scan and the same lie get through.
  const { stdout: tables } = await run('nft', ['list', 'tables']);
  const table = /table inet (\S+)/.exec(tables)?.[1] ?? '';
  for (const chain of ['sources', 'to_host', 'through', 'from_container']) await run('nft', ['flush', 'chain', 'inet', table, chain]);
  const bare = found((await node.run(shell(scan(targets)))).output);
  const spoofedBare = await isBelieved();

  node.server.stop(neighbour, 'canceled', 0);
  await node.ended(neighbour);
  await node.idle();
  const left = await (await node.agent?.fetch('/leftovers'))?.json();
  secret.close();
  return { neighbourAddress, guarded, names, none, spoofed, bare, spoofedBare, left };
}

async function outputSoFar(node: TestNode, assignment: Parameters<TestNode['outputs']>[0]): Promise<string> {
  return node.server.logOf(assignment).toString();
}

const internet = await openInternet();
const node = await TestNode.start();
let result: object;
try {
  result = await scenario(node);
} catch (error) {
  result = { error: String(error), agent: node.agent?.log.slice(-2000) };
}
// An agent that dies leaves its rules, and one that is to have none takes them away.
await node.agent?.end('SIGKILL');
const { stdout: tablesLeft } = await run('nft', ['list', 'tables']);
await node.startAgent({ BERTH_EGRESS: '0' });
const { stdout: tablesOff } = await run('nft', ['list', 'tables']);
const problems = await node.close();
const { stdout: tables } = await run('nft', ['list', 'tables']);
const { stdout: links } = await ip('-o', 'link');
await internet.close();
process.stdout.write(`${JSON.stringify({ ...result, problems, tables, tablesLeft, tablesOff, links: links.trim().split('\n').length })}\n`);

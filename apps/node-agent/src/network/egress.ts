import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type EgressPlan, linkOf, rulesOf, tableOf } from './egress-plan.js';

/** What the operator says about it (docs/contracts.md). */
export interface EgressChoice {
  readonly subnet: string;
  /** Empty: those of this host that containers can reach. */
  readonly resolvers: readonly string[];
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
}

/** What the OCI runtime runs when a container's namespaces are there, before its process is (config.md, "createRuntime Hooks"). */
export interface NetworkHook {
  readonly path: string;
  readonly args: readonly string[];
  readonly timeout: number;
}

/** What a container on this network is told of it. */
export interface ContainerNetwork {
  readonly hook: NetworkHook;
  readonly address: string;
  readonly resolvers: readonly string[];
}

const hookTimeoutS = 10;
/** Where systemd-resolved keeps the name servers that it asks itself. */
const resolvConfs = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** The network of this node's containers that may reach out. The rules stand from `open` on, before any container can be on it. */
export class Egress {
  private constructor(
    private readonly program: string,
    private readonly plan: EgressPlan,
  ) {}

  /** `program` is berth-net; `prefix` names this node's links among those of the machine. Throws, with the fix, where this machine cannot give it. */
  static async open(program: string, prefix: string, choice: EgressChoice): Promise<Egress> {
    const ipv6 = await access('/proc/sys/net/ipv6/conf/all/forwarding').then(
      () => true,
      () => false,
    );
    const resolvers = choice.resolvers.length > 0 ? choice.resolvers : await resolversOfHost();
    if (resolvers.length === 0) {
      throw new Error('egress: this host asks no name server that containers could reach: name one with BERTH_EGRESS_DNS');
    }
    const plan = { ...choice, prefix, ipv6, resolvers };
    await nft(rulesOf(plan));
    await forward(ipv6);
    return new Egress(program, plan);
  }

  /**
   * Takes away the rules that an agent with egress has left, where no container is on its network any more. Without nft on this machine there is none, and
   * no error.
   */
  static async removeLeft(prefix: string): Promise<void> {
    if ((await linksOf(prefix)).size === 0 && (await hasTable(tableOf(prefix)))) await removeTable(tableOf(prefix));
  }

  /** The network of the container that holds this slot of ids. */
  of(slot: number): ContainerNetwork {
    const { name, host, container, host6, container6 } = linkOf(this.plan, slot);
    const args = ['berth-net', 'attach', '--name', name, '--host', host, '--container', container];
    if (host6 !== null && container6 !== null) args.push('--host6', host6, '--container6', container6);
    return {
      hook: { path: this.program, args, timeout: hookTimeoutS },
      address: container.slice(0, container.indexOf('/')),
      resolvers: this.plan.resolvers,
    };
  }

  /** The links of this node that are there, each with its slot. */
  async links(): Promise<ReadonlyMap<number, string>> {
    return linksOf(this.plan.prefix);
  }

  async removeLinkOf(slot: number): Promise<void> {
    await this.removeLink(linkOf(this.plan, slot).name);
  }

  async removeLink(name: string): Promise<void> {
    await promisify(execFile)(this.program, ['detach', '--name', name]);
  }

  /** Takes the rules away, unless a container is still on the network. */
  async close(): Promise<void> {
    if ((await this.links()).size === 0) await removeTable(tableOf(this.plan.prefix));
  }
}

async function linksOf(prefix: string): Promise<ReadonlyMap<number, string>> {
  // Of this process's network; what /sys shows is that of whoever mounted it.
  const names = [...(await readFile('/proc/self/net/dev', 'latin1')).matchAll(/^\s*([^\s:]+):/gm)].map((found) => found[1] ?? '');
  const own = names.filter((name) => name.startsWith(prefix) && name.length === prefix.length + 3);
  return new Map(own.map((name) => [Number.parseInt(name.slice(prefix.length), 16), name]));
}

/** Named first, so that deleting what is gone already is no error. */
function removeTable(table: string): Promise<void> {
  return nft(`table inet ${table}\ndelete table inet ${table}\n`);
}

async function hasTable(table: string): Promise<boolean> {
  return promisify(execFile)('nft', ['list', 'table', 'inet', table], { cwd: '/' }).then(
    () => true,
    () => false,
  );
}

/** Gives nft(8) commands, which the kernel takes all together or not at all. */
async function nft(commands: string): Promise<void> {
  const child = spawn('nft', ['-f', '-'], { cwd: '/', stdio: ['pipe', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(commands);
  const [code] = (await once(child, 'close').catch((error: NodeJS.ErrnoException) => {
    throw new Error(error.code === 'ENOENT' ? 'egress needs nft: install the package nftables' : `nft: ${error.message}`, { cause: error });
  })) as [number | null];
  if (code !== 0) throw new Error(`egress: this kernel does not take the rules: ${complaint.trim().split('\n')[0] ?? ''}`);
}

/** Lets this host pass packets on. One that learns its own IPv6 routes from routers goes on doing so. */
async function forward(ipv6: boolean): Promise<void> {
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
  if (!ipv6) return;
  const conf = '/proc/sys/net/ipv6/conf';
  if ((await readFile(join(conf, 'all/forwarding'), 'latin1')).trim() === '1') return;
  for (const name of await readdir(conf)) {
    const path = join(conf, name, 'accept_ra');
    if ((await readFile(path, 'latin1').catch(() => '')).trim() === '1') await writeFile(path, '2');
  }
  await writeFile(join(conf, 'all/forwarding'), '1');
}

async function resolversOfHost(): Promise<readonly string[]> {
  const own = new Set(Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address)));
  for (const path of resolvConfs) {
    const found = parseResolvers(await readFile(path, 'utf8').catch(() => '')).filter(
      (address) => !isLoopback(address) && !own.has(address),
    );
    if (found.length > 0) return found;
  }
  return [];
}

/** The name servers in the text of a resolv.conf(5). */
export function parseResolvers(text: string): readonly string[] {
  return [...text.matchAll(/^nameserver[ \t]+(\S+)/gm)].map((found) => found[1] ?? '').filter((address) => isIP(address) !== 0);
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

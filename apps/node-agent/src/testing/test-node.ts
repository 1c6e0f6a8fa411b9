import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { newId } from '@berth/core';
import { type BuildConfig, buildImage, buildLayer, hostPlatform, type LayerEntry } from '@berth/image';
import type { Assignment, ExitRecord, Report, RunSpec } from '@berth/wire';
import { AgentProcess, nativeDirectory } from './agent-process.js';
import { BlobRegistry } from './blob-registry.js';
import { defaultSpec, registryHost } from './default-spec.js';
import { type HostState, readHostState } from './host-state.js';
import { ProtocolServer } from './protocol-server.js';

const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));

/** Why containers cannot be run here; null when they can. */
export function missingForContainers(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  if (busybox === undefined) return 'needs busybox (Debian: busybox-static)';
  const program = ['berth-runtime', 'berth-shim', 'berth-init', 'berth-layer'].find((name) => !existsSync(join(nativeDirectory(), name)));
  return program === undefined ? null : `needs native/build/${program}`;
}

/** The entries of a small userland: busybox under the names of its applets, and the account files. */
export const userland: readonly LayerEntry[] = [
  { type: 'file', path: '/bin/busybox', hostFile: busybox ?? '/bin/busybox' },
  ...[
    'sh',
    'cat',
    'echo',
    'ls',
    'sleep',
    'kill',
    'id',
    'chown',
    'rm',
    'stat',
    'df',
    'hostname',
    'env',
    'yes',
    'head',
    'dd',
    'true',
    'ps',
    'mkdir',
    'pwd',
    'touch',
    'wc',
    'grep',
  ].map((name): LayerEntry => ({ type: 'symlink', path: `/bin/${name}`, target: 'busybox' })),
  { type: 'file', path: '/etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n' },
  { type: 'file', path: '/etc/group', content: 'root:x:0:\napp:x:1000:\nstaff:x:50:app\n' },
  { type: 'directory', path: '/tmp', mode: 0o1777 },
  { type: 'file', path: '/data/original', content: 'from the layer\n' },
  { type: 'file', path: '/data/doomed', content: 'to be deleted\n' },
];

/** A registry with images, a control plane's side of the link, and agents between them, all for one test file. */
export class TestNode {
  agent: AgentProcess | undefined;

  private constructor(
    readonly directory: string,
    readonly registry: BlobRegistry,
    readonly server: ProtocolServer,
    /** Digest of the userland's image. */
    readonly image: string,
  ) {}

  static async start(): Promise<TestNode> {
    const directory = await mkdtemp(join(tmpdir(), 'berth-agent-'));
    const registry = await BlobRegistry.start();
    const server = await ProtocolServer.start();
    server.registries = [{ host: registryHost, url: registry.url }];
    const node = new TestNode(directory, registry, server, '');
    const image = await node.addImage({});
    return new TestNode(directory, registry, server, image);
  }

  /** Builds an image over the userland and gives it to the registry. Returns its digest. */
  async addImage(config: BuildConfig, ...more: readonly LayerEntry[][]): Promise<string> {
    const layers = await Promise.all([userland, ...more].map((entries) => buildLayer(entries)));
    return this.registry.add(buildImage({ layers, config, platform: hostPlatform() }));
  }

  async startAgent(env: Readonly<Record<string, string>> = {}): Promise<AgentProcess> {
    this.agent = await AgentProcess.start({
      BERTH_URL: this.server.url,
      BERTH_JOIN_TOKEN: ProtocolServer.joinToken,
      BERTH_AGENT_DIR: join(this.directory, 'agent'),
      BERTH_AGENT_RUN_DIR: join(this.directory, 'run'),
      BERTH_AGENT_METRICS_PORT: '0',
      BERTH_NATIVE_DIR: nativeDirectory(),
      BERTH_NODE_NAME: 'test',
      BERTH_RUNTIME_CLASSES: 'none',
      // Most tests look at the machine and expect there what they have asked for alone.
      BERTH_POOL_SANDBOXES: '0',
      ...env,
    });
    await eventually(() => this.server.connected, 'the agent connects');
    return this.agent;
  }

  assignment(spec: Partial<RunSpec>, image: string = this.image): Assignment {
    const runId = newId('run', Date.now(), randomBytes(10));
    return {
      runId,
      attempt: 1,
      epoch: 1,
      tenant: 'test',
      image: { reference: `${registryHost}/test/userland`, digest: image },
      pullAuthorization: null,
      spec: { ...defaultSpec, ...spec },
    };
  }

  /** Assigns a run of `sh -c script` or of a whole spec, and waits for its end and its log. */
  async run(spec: Partial<RunSpec> | string, image: string = this.image): Promise<Ended> {
    const assignment = this.assignment(typeof spec === 'string' ? { command: ['/bin/sh', '-c', spec] } : spec, image);
    this.server.assign(assignment);
    return this.ended(assignment);
  }

  async ended(assignment: Assignment, timeoutMs = patienceMs): Promise<Ended> {
    const isEnd = ({ kind }: Report): boolean => ['exited', 'failed', 'stopped'].includes(kind);
    await eventually(() => this.server.reportsOf(assignment).some(isEnd), 'the run ends', timeoutMs).catch((error: Error) => {
      throw new Error(`${error.message}; the agent says: ${this.agent?.log.slice(-3000)}`);
    });
    // A report that comes twice is one: a slow machine answers late.
    const reports = [...new Map(this.server.reportsOf(assignment).map((report) => [report.id, report])).values()];
    const end = reports.find(isEnd) as Report;
    const exit = end.kind === 'exited' ? end.exit : null;
    if (exit !== null) await eventually(() => this.server.logOf(assignment).length >= exit.logBytes, 'the log arrives', timeoutMs);
    return { assignment, reports, end, exit, output: outputOf(this.server.logOf(assignment)) };
  }

  async running(assignment: Assignment): Promise<void> {
    await eventually(() => this.server.reportsOf(assignment).some(({ kind }) => kind === 'running'), 'the run starts');
  }

  /** Waits until the container has written a line. */
  async outputs(assignment: Assignment, line: string): Promise<void> {
    await eventually(() => outputOf(this.server.logOf(assignment)).includes(`${line}\n`), `the container writes ${line}`);
  }

  /** Waits until the agent holds nothing. */
  async idle(): Promise<void> {
    await eventually(async () => (await this.containers()).length === 0, 'the agent has cleaned up');
  }

  /** The attempts that have a directory. */
  async containers(): Promise<readonly string[]> {
    return (await readdir(join(this.directory, 'agent/containers'))).filter((name) => !name.startsWith('pool-'));
  }

  /** What is on the machine of this node's. */
  hostState(): Promise<HostState> {
    return readHostState(this.directory, this.server.nodeId.slice(-8));
  }

  /** Ends everything and deletes the directories; returns what is left of the node, and what went against the protocol. */
  async close(): Promise<readonly string[]> {
    const problems: string[] = [];
    if (this.agent?.child.exitCode === null && this.agent.child.signalCode === null) {
      await this.idle().catch((error: Error) => problems.push(error.message, this.agent?.log.slice(-3000) ?? ''));
      await this.agent.end('SIGTERM');
    }
    await this.server.close();
    await this.registry.stop();
    const left = await eventuallyNothing(async () => [...(await this.hostState())]);
    if (left.length === 0) await rm(this.directory, { recursive: true, force: true });
    return [...problems, ...left, ...this.server.violations];
  }
}

export interface Ended {
  readonly assignment: Assignment;
  readonly reports: readonly Report[];
  readonly end: Report;
  readonly exit: ExitRecord | null;
  /** What the container wrote to both streams. */
  readonly output: string;
}

/** The output in a log of CRI records. */
export function outputOf(log: Buffer): string {
  return log
    .toString()
    .split('\n')
    .map((line) => /^\S+ (?:stdout|stderr) ([FP]) (.*)$/s.exec(line))
    .map((found) => (found === null ? '' : `${found[2]}${found[1] === 'F' ? '\n' : ''}`))
    .join('');
}

/** How much longer things may take here: an emulated machine is slow. */
export const slowness = process.env.BERTH_TEST_MACHINE === 'qemu' ? 8 : 1;
const patienceMs = 25_000 * slowness;

/** Waits until `holds` does; throws after `timeoutMs` with what did not come. */
export async function eventually(holds: () => boolean | Promise<boolean>, what: string, timeoutMs = patienceMs): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`within ${timeoutMs} ms it did not come true that ${what}`);
    await sleep(10);
  }
}

async function eventuallyNothing(read: () => Promise<readonly string[]>): Promise<readonly string[]> {
  let left: readonly string[] = [];
  for (let tries = 0; tries < 50; tries++) {
    left = await read();
    if (left.length === 0) return left;
    await sleep(100);
  }
  return left;
}

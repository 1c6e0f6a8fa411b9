import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunSpec } from '@berth/wire';
import type { Logger } from 'pino';
import { discardSandbox, makeSandbox, type PooledSandbox, type SandboxParts, type SandboxPlan } from './make-sandbox.js';
import type { SandboxKind } from './pool-metrics.js';
import { RecentRoots, type RootPlan, rootKey } from './recent-roots.js';

/*
 * Sandboxes that wait for a run, made while the node starts nothing: a slot of ids with its namespaces, its network with link and addresses, its cgroup and its
 * shim; and, for what a tenant ran lately, its root filesystem, limits and filter too. INVARIANTS
 *   - nothing of any tenant is in a bare one: no image, no file, no limit, no name; all of that comes with its one claim;
 *   - one with a root is for one tenant and one image of its, and has nothing of any run: no program, environment, user, name or file that was written;
 *   - what was taken never comes back: a sandbox is one container's, from its making to its end;
 *   - there are never more than `size` of each kind of network, and `roots` with a root, those being made included;
 *   - one ends with its holder, which is this process: an agent that dies leaves none that run.
 */

export interface PoolParts extends SandboxParts {
  /** Of each kind of network; 0: no pool. */
  readonly size: number;
  /** With a root, of all tenants together. */
  readonly roots: number;
  /** After so long without a run none waits for more of its like. */
  readonly rootIdleMs: number;
  readonly onTaken: (kind: SandboxKind, result: 'hit' | 'miss') => void;
  readonly onMade: (kind: SandboxKind, seconds: number) => void;
  readonly log: Logger;
}

/** What one that waits is counted with against the node's memory: its processes, and what the kernel keeps for its namespaces and cgroup. */
const pooledSandboxBytes = 2 * 1024 * 1024;

const namePrefix = 'pool-';
/** After a start, so long without one before the next sandbox is made. */
const idleMs = 10;
const firstRetryMs = 1_000;
const lastRetryMs = 60_000;
const lastAgingMs = 30_000;

/** What is in stock under a key: `none` and `egress` for bare ones, of others the key of what ran. */
type StockKey = string;

export class SandboxPool {
  readonly #ready = new Map<StockKey, PooledSandbox[]>();
  /** Names of all that are this pool's: those that wait, are being made, or are going. */
  readonly #own = new Set<string>();
  readonly #recent: RecentRoots;
  readonly #networks: readonly RunSpec['network'][];
  readonly #closing = new AbortController();
  readonly #aging: NodeJS.Timeout;
  #lastTakenMs = 0;
  #starting = 0;
  #filling: Promise<void> | null = null;
  #making: Promise<void> = Promise.resolve();

  constructor(private readonly parts: PoolParts) {
    this.#networks = parts.egress === null ? ['none'] : ['none', 'egress'];
    this.#recent = new RecentRoots(parts.roots, parts.rootIdleMs);
    this.#aging = setInterval(() => void this.dropUnwanted(), Math.min(lastAgingMs, Math.max(100, parts.rootIdleMs / 4)));
    this.#aging.unref();
  }

  /** How many wait. */
  get sizes(): Readonly<Record<SandboxKind, number>> {
    const sizes = { bare: 0, root: 0 };
    for (const [key, list] of this.#ready) sizes[this.isBare(key) ? 'bare' : 'root'] += list.length;
    return sizes;
  }

  /** What a full pool is counted with against the node's memory. */
  get memoryBytes(): number {
    return (this.parts.size * this.#networks.length + this.parts.roots) * pooledSandboxBytes;
  }

  /** The names of all that belong to no run; whoever takes one owns its name from then on. */
  get names(): readonly string[] {
    return [...this.#own];
  }

  /** One that waits for such a run, with its root where there is one; or null. The pool is filled again once the node starts nothing. */
  take(tenant: string, image: string, spec: RunSpec): PooledSandbox | null {
    if (this.parts.size === 0 || spec.runtimeClass !== 'berth') return null;
    this.#lastTakenMs = Date.now();
    const key = this.parts.roots === 0 ? null : rootKey(tenant, image, spec);
    const found = (key === null ? null : this.takeFrom('root', key)) ?? this.takeFrom('bare', spec.network);
    this.fill();
    return found;
  }

  /** Tells what a run's sandbox would have had in it, had it waited with its root. */
  remember(tenant: string, image: string, spec: RunSpec, { layers, cwd }: Pick<RootPlan, 'layers' | 'cwd'>): void {
    const key = this.parts.roots === 0 || this.#closing.signal.aborted ? null : rootKey(tenant, image, spec);
    if (key === null) return;
    const { network, readOnlyRootfs, init, resources } = spec;
    const { cpuMillis, memoryBytes, pids, shmBytes } = resources;
    const limits = { cpuMillis, memoryBytes, pids, shmBytes };
    this.#recent.used(key, { tenant, image, layers, network, readOnlyRootfs, init, cwd, limits }, Date.now());
    this.fill();
  }

  /** Starts something, with nothing being made beside it. */
  async during<T>(start: () => Promise<T>): Promise<T> {
    this.#starting++;
    try {
      return await start();
    } finally {
      this.#starting--;
      this.#lastTakenMs = Date.now();
    }
  }

  /** Lets go of every root, so that their images can be removed; they are made again for what runs from here on. */
  async dropRoots(): Promise<void> {
    this.#recent.forgetAll();
    await this.#making;
    await this.dropUnwanted();
  }

  /** Sees to it that the pool gets full, one sandbox at a time. */
  fill(): void {
    if (this.parts.size === 0 || this.#closing.signal.aborted) return;
    this.#filling ??= this.makeAll().finally(() => {
      this.#filling = null;
    });
  }

  /** Removes all that wait. */
  async close(): Promise<void> {
    clearInterval(this.#aging);
    this.#closing.abort();
    await this.#filling;
    await this.dropWhere(() => 0);
  }

  private isBare(key: StockKey): boolean {
    return key === 'none' || key === 'egress';
  }

  private takeFrom(kind: SandboxKind, key: StockKey): PooledSandbox | null {
    const list = this.#ready.get(key);
    let found = list?.shift();
    while (found !== undefined && !found.shim.isThere) found = list?.shift();
    this.parts.onTaken(kind, found === undefined ? 'miss' : 'hit');
    if (found !== undefined) this.#own.delete(found.name);
    return found ?? null;
  }

  /** What is missing most, by the part of what is wanted that is there; undefined when the pool is full. Those with a root first: they spare a start the most. */
  private missing(): { readonly key: StockKey; readonly plan: SandboxPlan } | undefined {
    const wanted: { readonly key: StockKey; readonly plan: SandboxPlan; readonly part: number }[] = [];
    const want = (key: StockKey, plan: SandboxPlan, count: number): void => {
      const part = (this.#ready.get(key)?.length ?? 0) / count;
      if (part < 1) wanted.push({ key, plan, part });
    };
    for (const [key, count] of this.#recent.wanted(Date.now())) {
      const plan = this.#recent.planOf(key);
      if (plan !== undefined) want(key, { kind: 'root', ...plan }, count);
    }
    for (const network of this.#networks) want(network, { kind: 'bare', network }, this.parts.size);
    // The sort is stable.
    return wanted.sort((x, y) => x.part - y.part)[0];
  }

  private async makeAll(): Promise<void> {
    for (let retryMs = firstRetryMs; !this.#closing.signal.aborted; ) {
      const next = this.missing();
      if (next === undefined) return;
      const restMs = this.#lastTakenMs + idleMs - Date.now();
      if (restMs > 0 || this.#starting > 0) {
        await this.pause(Math.max(restMs, 1));
        continue;
      }
      try {
        const making = this.makeOne(next.key, next.plan);
        this.#making = making.catch(() => {});
        await making;
        retryMs = firstRetryMs;
      } catch (error) {
        this.parts.log.warn({ err: error, kind: next.plan.kind, retryMs }, 'no sandbox could be made ahead: containers start without');
        // Its layers may be gone: the next run of it brings it back.
        this.#recent.forget(next.key);
        await this.pause(retryMs);
        retryMs = Math.min(retryMs * 2, lastRetryMs);
      }
    }
  }

  private async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
  }

  private async makeOne(key: StockKey, plan: SandboxPlan): Promise<void> {
    // Room first: those of what ran longer ago give way.
    await this.dropUnwanted();
    const name = `${namePrefix}${randomBytes(8).toString('hex')}`;
    const began = performance.now();
    this.#own.add(name);
    let sandbox: PooledSandbox;
    try {
      sandbox = await makeSandbox(this.parts, name, plan);
    } catch (error) {
      this.#own.delete(name);
      throw error;
    }
    this.parts.onMade(plan.kind, (performance.now() - began) / 1000);
    const list = this.#ready.get(key) ?? [];
    this.#ready.set(key, list);
    list.push(sandbox);
    sandbox.shim.onGone(() => {
      const at = list.indexOf(sandbox);
      // Taken ones are their runs' to clear away.
      if (at < 0) return;
      list.splice(at, 1);
      void this.discard(sandbox).then(() => this.fill());
    });
  }

  private dropUnwanted(): Promise<void> {
    const wanted = this.#recent.wanted(Date.now());
    return this.dropWhere((key) => (this.isBare(key) ? this.parts.size : (wanted.get(key) ?? 0)));
  }

  /** Ends those beyond what may stay under their key. */
  private async dropWhere(staying: (key: StockKey) => number): Promise<void> {
    const going: PooledSandbox[] = [];
    for (const [key, list] of this.#ready) {
      going.push(...list.splice(staying(key)));
      if (list.length === 0 && !this.isBare(key)) this.#ready.delete(key);
    }
    await Promise.all(going.map((sandbox) => this.discard(sandbox)));
  }

  private async discard({ name, slot, shim }: PooledSandbox): Promise<void> {
    try {
      await discardSandbox(this.parts, name, slot, shim);
    } catch (error) {
      this.parts.log.error({ err: error, name }, 'a sandbox of the pool stays');
    }
    this.#own.delete(name);
  }
}

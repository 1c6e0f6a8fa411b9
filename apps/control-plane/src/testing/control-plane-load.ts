import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openQueues } from '@berth/queue';
import { startRedis } from '@berth/testing';
import pg from 'pg';
import { AgentPeer, runToEnd } from './agent-peer.js';
import { ServiceUnderTest, type TestTenant } from './service-under-test.js';

/*
 * The load behind `npm run bench -- control-plane`, one JSON object a line. The control plane is a process of its own; this one is its clients and its
 * nodes, which speak the real agent link and run nothing. Everything shares the machine: Postgres, Redis, registry, clients and nodes.
 */

const { values } = parseArgs({
  options: {
    queued: { type: 'string', default: '100000' },
    tenants: { type: 'string', default: '1,100,1000' },
    submissions: { type: 'string', default: '1000' },
    paced: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '10' },
    profile: { type: 'string' },
  },
});
const print = (record: object) => process.stdout.write(`${JSON.stringify({ bench: 'control-plane', ...record })}\n`);

const percentile = (sorted: readonly number[], p: number) =>
  Math.round((sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)] ?? Number.NaN) * 100) / 100;

function latency(samplesMs: readonly number[]): object {
  const sorted = [...samplesMs].sort((a, b) => a - b);
  return { count: sorted.length, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99) };
}

/** Runs `work` so many times, so many at once; how many came to an end in a second. */
async function rate(times: number, atOnce: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const one = async () => {
    while (next < times) await work(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  return Math.round(times / ((performance.now() - start) / 1000));
}

/** A second control plane over the same database, in a process of its own. */
async function startProcess(service: ServiceUnderTest): Promise<{ url: string; child: ChildProcess }> {
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const profiled = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, ...profiled, main], {
    env: { ...process.env, ...service.environment, BERTH_DATABASE_POOL: '16', BERTH_SWEEP_MS: '1000', BERTH_HEARTBEAT_MS: '2000' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (child.stdout === null) throw new Error('the control plane has no stdout');
  for await (const line of createInterface(child.stdout)) {
    const url = /listening on (\S+)/.exec(line)?.[1];
    if (url !== undefined) return { url, child };
  }
  throw new Error('the control plane did not start');
}

async function residentMib(child: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
}

class Load {
  private readonly arrivals = new Map<string, number>();
  private readonly waiters = new Map<string, (atMs: number) => void>();
  dispatched = 0;

  constructor(
    readonly url: string,
    private readonly tenant: TestTenant,
  ) {}

  attach(peer: AgentPeer): void {
    peer.behaviour = (self, assignment) => {
      this.dispatched++;
      const { runId } = assignment;
      const waiter = this.waiters.get(runId);
      if (waiter === undefined) this.arrivals.set(runId, performance.now());
      else waiter(performance.now());
      return runToEnd(self, assignment);
    };
  }

  submit(tenant = this.tenant): Promise<{ json: { id: string }; status: number }> {
    return tenant.api.at(this.url).post('/v1/runs', { image: tenant.image, resources: { cpuMillis: 10, memoryBytes: 8 * 1024 ** 2 } });
  }

  /** From the beginning of a submission until its assignment is at the node. */
  async submitToDispatched(): Promise<number> {
    const start = performance.now();
    const { json, status } = await this.submit();
    if (status !== 201) throw new Error(`a submission answered ${status}: ${JSON.stringify(json)}`);
    const arrived = this.arrivals.get(json.id) ?? (await new Promise<number>((resolve) => this.waiters.set(json.id, resolve)));
    return arrived - start;
  }

  /** Poisson arrivals, ten a second. */
  async paced(count: number): Promise<number[]> {
    const samples: Promise<number>[] = [];
    for (let i = 0; i < count; i++) {
      await sleep(-Math.log(1 - Math.random()) * 100);
      samples.push(this.submitToDispatched());
    }
    return Promise.all(samples);
  }
}

/** Runs that hold quota and await a node, written past the API: as many as no client could submit within a benchmark. */
async function fill(pool: pg.Pool, tenant: TestTenant, tenants: number, queued: number): Promise<void> {
  await pool.query(
    `INSERT INTO tenants (id, name, quota_concurrent_runs, quota_cpu_millis, quota_memory_bytes, used_concurrent_runs, used_cpu_millis, used_memory_bytes)
     SELECT 'ten_' || lpad(i::text, 26, '0'), 'flood-' || i || '-' || $2::int, 1000000, 1000000000, 1::bigint << 52, $2::int, $2::int * 10, $2::bigint * 8388608
     FROM generate_series(1, $1::int) AS i`,
    [tenants, queued / tenants],
  );
  await pool.query(
    `INSERT INTO runs (id, tenant_id, state, reserved, image, digest, spec, cpu_millis, memory_bytes, priority, max_attempts, on_node_lost, created_at, queued_at)
     SELECT 'run_' || lpad(i::text, 26, '0'), 'ten_' || lpad((1 + i % $1)::text, 26, '0'), 'queued', true, s.image, s.digest, s.spec, 10, 8388608, 50, 1, 'wait', now(), now()
     FROM generate_series(1, $2::int) AS i, (SELECT image, digest, spec FROM runs WHERE tenant_id = $3 LIMIT 1) AS s`,
    [tenants, queued, tenant.id],
  );
  await pool.query('ANALYZE runs');
}

async function drain(pool: pg.Pool): Promise<void> {
  await pool.query(`TRUNCATE runs, attempts, run_events, idempotency_keys, outbox, log_chunks`);
  await pool.query(`DELETE FROM tenants WHERE name LIKE 'flood-%'`);
  await pool.query('UPDATE nodes SET reserved_cpu_millis = 0, reserved_memory_bytes = 0, reserved_runs = 0');
}

async function floors(pool: pg.Pool, redisUrl: string): Promise<void> {
  await pool.query('CREATE TABLE floor (id bigserial PRIMARY KEY, tenant int NOT NULL, state text NOT NULL, spec jsonb NOT NULL)');
  const insert = () =>
    pool.query({ name: 'floor', text: `INSERT INTO floor (tenant, state, spec) VALUES ($1, 'queued', $2)`, values: [1, '{"a":1}'] });
  print({ subject: 'bare SQL', figure: 'insertsPerSecond', value: await rate(2000, 16, insert) });
  const take = () =>
    pool.query(
      `UPDATE floor SET state = 'placed' WHERE id IN (SELECT id FROM floor WHERE state = 'queued' LIMIT 50 FOR UPDATE SKIP LOCKED)`,
    );
  print({ subject: 'bare SQL', figure: 'placedPerSecond', value: 50 * (await rate(40, 2, take)) });

  const queues = openQueues({ store: { redisUrl }, onError: () => {} });
  const queue = queues.wakeQueue;
  let taken = 0;
  const consumer = await queue.consume(
    async () => {
      taken++;
    },
    { concurrency: 32 },
  );
  const start = performance.now();
  for (let i = 0; i < 20; i++) await queue.publish(Array.from({ length: 100 }, (_, j) => ({ runId: `${i}-${j}`, attempt: 1 })));
  while (taken < 2000) await sleep(5);
  print({ subject: 'bare BullMQ', figure: 'jobsPerSecond', value: Math.round(2000 / ((performance.now() - start) / 1000)) });
  await consumer.close();
  await queues.close();
}

const service = await ServiceUnderTest.start('redis');
const redis = await startRedis();
const pool = new pg.Pool({ connectionString: service.databaseUrl, max: 16 });
const { url, child } = await startProcess(service);
try {
  const unlimited = {
    concurrentRuns: 1_000_000,
    cpuMillis: 1_000_000_000,
    memoryBytes: 2 ** 50,
    submissionsPerMinute: 2 ** 50,
    logBytes: 2 ** 52,
  };
  const tenant = await service.tenant(unlimited);
  const flooder = await service.tenant(unlimited);
  const load = new Load(url, tenant);
  const peers = await Promise.all(Array.from({ length: 10 }, () => service.joinAgent({ cpuMillis: 2000, memoryBytes: 1024 ** 4 })));
  // The replica in this process only sets things up: all nodes and all clients are the other one's.
  await Promise.all(service.replicas.splice(0).map((replica) => replica.close()));
  for (const peer of peers) {
    load.attach(peer);
    await peer.connect(url);
  }
  await floors(pool, redis.url);

  await load.paced(10);
  print({ subject: 'berth', figure: 'submitToDispatched', load: 'idle', ...latency(await load.paced(Number(values.paced))) });
  const statements = async () =>
    Number(
      (await pool.query<{ n: string }>('SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()')).rows[0]?.n,
    );
  const before = await statements();
  const submissions = Number(values.submissions);
  print({ subject: 'berth', figure: 'submissionsPerSecond', atOnce: 16, value: await rate(submissions, 16, () => load.submit()) });
  await sleep(3000);
  print({ subject: 'berth', figure: 'transactionsPerRun', value: Math.round(((await statements()) - before) / submissions) });
  let flooding = true;
  const flood = rate(1_000_000, 8, async () => {
    if (!flooding) throw new Error('enough');
    await load.submit(flooder);
  }).catch(() => 0);
  await sleep(500);
  print({ subject: 'berth', figure: 'submitToDispatched', load: 'beside a flood', ...latency(await load.paced(Number(values.paced))) });
  flooding = false;
  await flood;

  for (const count of values.tenants.split(',').map(Number)) {
    await sleep(2000);
    const [sample] = (await pool.query('SELECT 1 FROM runs LIMIT 1')).rows;
    if (sample === undefined) await load.submitToDispatched();
    await fill(pool, tenant, count, Number(values.queued));
    load.dispatched = 0;
    const start = performance.now();
    await load.submit();
    await sleep(Number(values.seconds) * 1000);
    const placed = Math.round(load.dispatched / ((performance.now() - start) / 1000));
    print({
      subject: 'berth',
      figure: 'placedPerSecond',
      tenants: count,
      queued: Number(values.queued),
      value: placed,
      rssMib: await residentMib(child),
    });
    await pool.query(`UPDATE runs SET state = 'canceled', reserved = false WHERE state = 'queued'`);
    await sleep(3000);
    await drain(pool);
  }
} finally {
  for (const peer of service.peers) peer.vanish();
  child.kill('SIGTERM');
  await once(child, 'exit');
  await pool.end();
  await redis.stop();
  await service.close();
}

import { createPostgresBackend, type Queue, runMigrations, type Worker, type WorkerOptions, withBackend } from 'bullmq';
import pg from 'pg';
import type { BullBackend, WakeJob } from './bull-wake-queue.js';
import { ensureRelayable, Relay, type WakeUp } from './ports.js';

const bull = withBackend(createPostgresBackend);

// Undefined table, function, and schema.
const goneCodes = new Set(['42P01', '42883', '3F000']);

/** A lost session is told twice, to whoever waits for an answer and as an event; unheard, the event would end the process, and BullMQ hears it not always. */
class CalmClient extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(config);
    this.on('error', () => {});
  }
}

/** BullMQ on Postgres, in a schema of its own. */
export class PostgresBackend implements BullBackend {
  constructor(
    private readonly url: string,
    private readonly queueName: string,
    private readonly schema: string,
  ) {}

  async prepare(): Promise<void> {
    const client = new pg.Client({ connectionString: this.url, connectionTimeoutMillis: 2000 });
    client.on('error', () => {});
    await client.connect();
    try {
      await runMigrations(client, this.schema);
    } finally {
      await client.end();
    }
  }

  openQueue(): Promise<Queue<WakeUp, void, string>> {
    const queue = new bull.Queue<WakeUp, void, string>(this.queueName, { connection: this.connection(2) });
    return ready(queue as unknown as Queue<WakeUp, void, string>);
  }

  openWorker(
    process: (job: WakeJob) => Promise<void>,
    options: Pick<WorkerOptions, 'concurrency' | 'runRetryDelay'>,
  ): Promise<Worker<WakeUp, void, string>> {
    const worker = new bull.Worker<WakeUp, void, string>(this.queueName, process, { connection: this.connection(3), ...options });
    return ready(worker as unknown as Worker<WakeUp, void, string>);
  }

  isUnprepared(error: unknown): boolean {
    const { code, name } = error as { code?: string; name?: string };
    return (code !== undefined && goneCodes.has(code)) || name === 'SchemaMigrationRequiredError';
  }

  private connection(max: number) {
    return { connectionString: this.url, schema: this.schema, max, connectionTimeoutMillis: 2000, keepAlive: true, Client: CalmClient };
  }
}

interface Owner {
  on(event: 'error', listener: () => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}

/** BullMQ remembers for good that its first connection failed: what does not get ready is given up, for the caller to open another. */
async function ready<T extends Owner>(owner: T): Promise<T> {
  owner.on('error', () => {});
  try {
    await owner.waitUntilReady();
    return owner;
  } catch (error) {
    owner.close().catch(() => {});
    throw error;
  }
}

const reconnectDelayMs = 500;

/** LISTEN and NOTIFY. One connection listens to every channel; it is opened anew when it is lost. */
export class PostgresRelay extends Relay {
  private readonly pool: pg.Pool;
  private readonly listeners = new Map<string, Set<(message: string) => void>>();
  private connected: Promise<pg.Client> | null = null;
  private reconnectTimer: NodeJS.Timeout | null = null;
  private isClosed = false;

  constructor(
    private readonly url: string,
    private readonly prefix: string,
    private readonly onError: (error: Error) => void,
  ) {
    super();
    this.pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 2000 });
    this.pool.on('error', onError);
  }

  override async publish(channel: string, message: string): Promise<boolean> {
    ensureRelayable(message);
    try {
      await this.pool.query('SELECT pg_notify($1, $2)', [this.key(channel), message]);
      return true;
    } catch (error) {
      this.onError(error as Error);
      return false;
    }
  }

  override async subscribe(channel: string, listener: (message: string) => void): Promise<() => Promise<void>> {
    const key = this.key(channel);
    const listeners = this.listeners.get(key) ?? new Set();
    this.listeners.set(key, listeners.add(listener));
    try {
      const client = await this.connect();
      await client.query(`LISTEN ${client.escapeIdentifier(key)}`);
    } catch (error) {
      this.onError(error as Error);
      this.lost();
    }
    return async () => {
      listeners.delete(listener);
      if (listeners.size > 0 || !this.listeners.delete(key)) return;
      const current = await this.connected?.catch(() => null);
      await current?.query(`UNLISTEN ${current.escapeIdentifier(key)}`).catch(() => {});
    };
  }

  override async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.reconnectTimer !== null) clearTimeout(this.reconnectTimer);
    const client = await this.connected?.catch(() => null);
    await Promise.all([client?.end(), this.pool.end()]);
  }

  private connect(): Promise<pg.Client> {
    this.connected ??= this.listen().catch((error: unknown) => {
      this.connected = null;
      throw error;
    });
    return this.connected;
  }

  private async listen(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.url,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      connectionTimeoutMillis: 2000,
    });
    client.on('error', this.onError);
    client.on('notification', ({ channel, payload }) => {
      for (const listener of this.listeners.get(channel) ?? []) listener(payload ?? '');
    });
    await client.connect();
    client.on('end', () => this.lost());
    for (const key of this.listeners.keys()) await client.query(`LISTEN ${client.escapeIdentifier(key)}`);
    return client;
  }

  private lost(): void {
    this.connected = null;
    if (this.isClosed || this.reconnectTimer !== null) return;
    this.reconnectTimer = setTimeout(() => {
      this.reconnectTimer = null;
      if (this.isClosed) return;
      this.connect().catch((error: Error) => {
        this.onError(error);
        this.lost();
      });
    }, reconnectDelayMs);
  }

  private key(channel: string): string {
    return `${this.prefix}:${channel}`;
  }
}

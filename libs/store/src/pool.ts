import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** Runs one statement; a pool or a client in a transaction. */
export type Queryable = pg.Pool | pg.PoolClient;

const int8 = 20;

/**
 * A pool whose bigints are numbers: every amount that Berth stores is below 2^53. A lost connection fails the statement that used it and is no event of
 * its own, whether idle or not: unheard, the event would end the process.
 */
export function openPool(url: string, poolSize: number): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    // A replica that hangs must not hold a tenant's row for ever.
    statement_timeout: 30_000,
    idle_in_transaction_session_timeout: 30_000,
    types: {
      getTypeParser: (oid, format) =>
        (oid === int8 && format !== 'binary' ? Number : pg.types.getTypeParser(oid, format)) as (text: string) => unknown,
    },
  });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Runs `work` in one READ COMMITTED transaction; rolls back and rethrows when it throws. */
export async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((rollbackError: Error) => {
      broken = rollbackError;
    });
    throw error;
  } finally {
    // A connection whose transaction may still be open must not serve anyone else.
    client.release(broken);
  }
}

/** Whether Postgres refused a statement, of which nothing was written then; else the connection failed, and nobody knows. */
export function isStatementError(error: unknown): boolean {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return severity === 'ERROR' && typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code);
}

const serializationFailure = '40001';
const deadlockDetected = '40P01';

/** Repeats `work` when Postgres chose it as the victim of a deadlock; nothing of it was written then. */
export async function retryOnDeadlock<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const code = (error as { code?: string }).code;
      if (attempt >= 5 || (code !== deadlockDetected && code !== serializationFailure)) throw error;
      // Together again at once, the same two could meet in the same deadlock as often as they may try.
      await sleep(Math.random() * 20 * attempt);
    }
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { freshDatabase, type TestDatabase } from '@berth/testing';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inTransaction, openPool, retryOnDeadlock } from './pool.js';

let database: TestDatabase;
let pool: pg.Pool;
beforeAll(async () => {
  database = await freshDatabase();
  pool = openPool(database.url, 4);
  await pool.query('CREATE TABLE counters (id int PRIMARY KEY, value bigint NOT NULL)');
  await pool.query('INSERT INTO counters VALUES (1, 0), (2, 0)');
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const raise = 'UPDATE counters SET value = value + 1 WHERE id = $1';
const values = async () => (await pool.query<{ value: number }>('SELECT value FROM counters ORDER BY id')).rows.map((row) => row.value);

describe('transaction', () => {
  it('is undone when its work throws, and its connection serves the next', async () => {
    const failing = inTransaction(pool, async (client) => {
      await client.query(raise, [1]);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await values()).toEqual([0, 0]);
  });

  it('that loses its session between two statements fails, and the process lives on', async () => {
    const failing = inTransaction(pool, async (client) => {
      await client.query(raise, [1]);
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await pool.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
      await sleep(200);
    });
    await expect(failing).rejects.toThrow();
    expect(await values()).toEqual([0, 0]);
  });

  it('is repeated when it was the victim of a deadlock', async () => {
    const bothBegun = { count: 0 };
    const crossing = (first: number, second: number) =>
      retryOnDeadlock(() =>
        inTransaction(pool, async (client) => {
          await client.query(raise, [first]);
          bothBegun.count++;
          while (bothBegun.count < 2) await sleep(5);
          await client.query(raise, [second]);
        }),
      );
    await Promise.all([crossing(1, 2), crossing(2, 1)]);
    expect(await values()).toEqual([2, 2]);
    // The victim begins again at once and may win its first row back, which makes a second deadlock: three is the least.
    expect(bothBegun.count).toBeGreaterThanOrEqual(3);
  });
});

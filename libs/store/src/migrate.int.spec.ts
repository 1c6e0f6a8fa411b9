import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freshDatabase, type TestDatabase } from '@berth/testing';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SchemaRefused } from './migrate.js';
import { openStore } from './open-store.js';
import { withSchemaEngine } from './schema-engine.js';

const prismaDirectory = fileURLToPath(new URL('../../../prisma', import.meta.url));

let database: TestDatabase;
let migrations: string;
beforeEach(async () => {
  database = await freshDatabase();
  migrations = await mkdtemp(join(tmpdir(), 'berth-migrations-'));
  await cp(join(prismaDirectory, 'migrations'), migrations, { recursive: true });
});
afterEach(async () => {
  await rm(migrations, { recursive: true });
  await database.drop();
});

async function migrate(directory: string): Promise<{ applied: string[] }> {
  const store = openStore({ url: database.url, poolSize: 1, migrationsDirectory: directory });
  try {
    return await store.migrate();
  } finally {
    await store.close();
  }
}

async function addMigration(name: string, sql: string): Promise<void> {
  await mkdir(join(migrations, name));
  await writeFile(join(migrations, name, 'migration.sql'), sql);
}

async function query(statement: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

describe('migrations', () => {
  it('make the very database that schema.prisma describes', async () => {
    await migrate(migrations);
    const content = await readFile(join(prismaDirectory, 'schema.prisma'), 'utf8');
    const files = [{ path: 'schema.prisma', content }];
    const diff = await withSchemaEngine(database.url, content, (engine) =>
      engine.diff({
        from: { tag: 'schemaDatasource', files, configDir: prismaDirectory },
        to: { tag: 'schemaDatamodel', files },
        script: true,
        exitCode: true,
        filters: { externalTables: [], externalEnums: [] },
      }),
    );
    expect(diff.stdout?.trim()).toBe('-- This is an empty migration.');
    expect(diff.exitCode).toBe(0);
  });

  it('are applied once, by whichever of several starting programs comes first', async () => {
    const answers = await Promise.all([1, 2, 3].map(() => migrate(migrations)));
    const names = (await readdir(join(prismaDirectory, 'migrations'))).filter((name) => name !== 'migration_lock.toml');
    expect(answers.flatMap((answer) => answer.applied)).toEqual(names.sort());
    expect(await migrate(migrations)).toEqual({ applied: [] });
  });

  it('bring a database of an older version up to date and keep what is in it', async () => {
    await migrate(migrations);
    const store = openStore({ url: database.url, poolSize: 1 });
    await store.tenants.create({ name: 'kept', quota: { concurrentRuns: 1, cpuMillis: 1, memoryBytes: 1 }, requireDigest: false });
    await store.close();
    await addMigration('29990101000000_colour', `ALTER TABLE tenants ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue';`);
    expect(await migrate(migrations)).toEqual({ applied: ['29990101000000_colour'] });
    expect(await query('SELECT name, colour FROM tenants')).toEqual([{ name: 'kept', colour: 'blue' }]);
  });

  it('refuse a database that a newer program migrated', async () => {
    await addMigration('29990101000000_future', 'CREATE TABLE future (id INT PRIMARY KEY);');
    await migrate(migrations);
    const older = migrate(join(prismaDirectory, 'migrations'));
    await expect(older).rejects.toThrow(SchemaRefused);
    await expect(older).rejects.toThrow('newer than this program: it has migration 29990101000000_future');
  });

  it('refuse a database whose migration was edited after it had been applied', async () => {
    await addMigration('29990101000000_edited', 'CREATE TABLE edited (id INT PRIMARY KEY);');
    await migrate(migrations);
    await writeFile(join(migrations, '29990101000000_edited', 'migration.sql'), 'CREATE TABLE edited (id BIGINT PRIMARY KEY);');
    await expect(migrate(migrations)).rejects.toThrow('29990101000000_edited was changed after it had been applied');
  });

  it('say which migration failed, and refuse the database from then on', async () => {
    await addMigration('29990101000000_broken', 'CREATE TABLE broken (id INT PRIMARY KEY); SELECT 1 / 0;');
    await expect(migrate(migrations)).rejects.toThrow(/division by zero[\s\S]*29990101000000_broken/);
    await expect(migrate(migrations)).rejects.toThrow('migration 29990101000000_broken failed halfway');
  });
});

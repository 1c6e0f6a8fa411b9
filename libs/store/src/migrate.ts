import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { type MigrationList, withSchemaEngine } from './schema-engine.js';

/*
 * Migrations in Prisma's own layout (a folder each, and the table `_prisma_migrations`), so that Prisma's command line can take over where it runs.
 */

/** The database cannot be used by this program; the message says why and what to do. */
export class SchemaRefused extends Error {
  override readonly name = 'SchemaRefused';
}

interface Migration {
  readonly name: string;
  readonly sql: string;
}
interface AppliedRow {
  migration_name: string;
  checksum: string;
  finished_at: Date | null;
}

// Any number that nothing else in the database locks: "berth" in ASCII.
const advisoryLock = 0x6265727468;

/**
 * Brings the database at `url` to the newest migration of `migrationsDirectory`, one program at a time. Returns the names of those applied.
 * Throws SchemaRefused when the database was migrated by a newer program, when an applied migration has since been edited, or when one failed.
 */
export async function migrateDatabase(url: string, migrationsDirectory: string): Promise<{ applied: string[] }> {
  const migrations = await readMigrations(migrationsDirectory);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [advisoryLock]);
    const applied = await readApplied(client);
    refuseUnless(migrations, applied);
    if (applied.length === migrations.length) return { applied: [] };
    return { applied: await apply(url, migrationsDirectory, migrations) };
  } finally {
    // Ending the session releases the lock.
    await client.end();
  }
}

async function readMigrations(directory: string): Promise<Migration[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  return Promise.all(names.map(async (name) => ({ name, sql: await readFile(join(directory, name, 'migration.sql'), 'utf8') })));
}

async function readApplied(client: pg.Client): Promise<AppliedRow[]> {
  const table = await client.query<{ exists: boolean }>(`SELECT to_regclass('_prisma_migrations') IS NOT NULL AS exists`);
  if (table.rows[0]?.exists !== true) return [];
  const result = await client.query<AppliedRow>(
    'SELECT migration_name, checksum, finished_at FROM _prisma_migrations WHERE rolled_back_at IS NULL ORDER BY started_at',
  );
  return result.rows;
}

function refuseUnless(migrations: readonly Migration[], applied: readonly AppliedRow[]): void {
  const known = new Map(migrations.map((migration) => [migration.name, checksum(migration.sql)]));
  for (const row of applied) {
    const expected = known.get(row.migration_name);
    if (expected === undefined) {
      throw new SchemaRefused(
        `the database is newer than this program: it has migration ${row.migration_name}, which this version does not know. Run the newer version.`,
      );
    }
    if (row.finished_at === null) {
      throw new SchemaRefused(
        `migration ${row.migration_name} failed halfway. Restore the database from a backup, or repair it and mark the migration.`,
      );
    }
    if (row.checksum !== expected) {
      throw new SchemaRefused(
        `migration ${row.migration_name} was changed after it had been applied to this database. Run the version that applied it.`,
      );
    }
  }
}

async function apply(url: string, directory: string, migrations: readonly Migration[]): Promise<string[]> {
  const list: MigrationList = {
    baseDir: directory,
    lockfile: { path: 'migration_lock.toml', content: await readFile(join(directory, 'migration_lock.toml'), 'utf8') },
    shadowDbInitScript: '',
    migrationDirectories: migrations.map(({ name, sql }) => ({
      path: name,
      migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } },
    })),
  };
  const datamodel = 'datasource db {\n  provider = "postgresql"\n}\n';
  const output = await withSchemaEngine(url, datamodel, (engine) =>
    engine.applyMigrations({ migrationsList: list, filters: { externalTables: [], externalEnums: [] } }),
  );
  return output.appliedMigrationNames;
}

function checksum(sql: string): string {
  return createHash('sha256').update(sql).digest('hex');
}

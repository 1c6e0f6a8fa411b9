#!/usr/bin/env node
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freshDatabase } from '@berth/testing';
import { migrateDatabase } from './dist/migrate.js';
import { withSchemaEngine } from './dist/schema-engine.js';

/*
 * `npm run migration -w @berth/store -- NAME`: writes prisma/migrations/<time>_NAME with what schema.prisma asks for beyond the migrations that
 * are there, as `prisma migrate dev --create-only` would. Read it before committing it: a rename is guessed as a drop and an addition.
 */
const [name] = process.argv.slice(2);
if (name === undefined || !/^[a-z0-9_]+$/.test(name)) {
  process.stderr.write('usage: new-migration.mjs NAME (lower-case letters, digits and _)\n');
  process.exit(2);
}
const prisma = join(dirname(fileURLToPath(import.meta.url)), '../../prisma');
const content = readFileSync(join(prisma, 'schema.prisma'), 'utf8');
const files = [{ path: 'schema.prisma', content }];

const database = await freshDatabase();
try {
  await migrateDatabase(database.url, join(prisma, 'migrations'));
  const { stdout, exitCode } = await withSchemaEngine(database.url, content, (engine) =>
    engine.diff({
      from: { tag: 'schemaDatasource', files, configDir: prisma },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: true,
      filters: { externalTables: [], externalEnums: [] },
    }),
  );
  if (exitCode === 0) {
    process.stdout.write('the migrations make what schema.prisma describes already\n');
  } else {
    const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
    const folder = join(prisma, 'migrations', `${stamp}_${name}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'migration.sql'), stdout ?? '');
    process.stdout.write(`wrote ${folder}/migration.sql\n`);
  }
} finally {
  await database.drop();
}

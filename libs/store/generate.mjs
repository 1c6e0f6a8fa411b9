#!/usr/bin/env node
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * Generates the Prisma client from prisma/schema.prisma, without a download: generating needs no schema engine, but Prisma's command line fetches
 * one unless it is told where one is. Does nothing when the schema and Prisma's version are those of the client that is there.
 */
const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const schema = join(root, 'prisma/schema.prisma');
const generated = join(root, 'libs/store/src/generated');
const stampFile = join(generated, '.stamp');
const prismaPackage = createRequire(import.meta.url).resolve('prisma/package.json');

const stamp = createHash('sha256').update(readFileSync(schema)).update(readFileSync(prismaPackage)).digest('hex');
if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) process.exit(0);

rmSync(generated, { recursive: true, force: true });
const result = spawnSync(process.execPath, [join(dirname(prismaPackage), 'build/index.js'), 'generate', '--schema', schema], {
  cwd: root,
  encoding: 'utf8',
  env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, PRISMA_HIDE_UPDATE_MESSAGE: '1', CHECKPOINT_DISABLE: '1' },
});
if (result.status !== 0) {
  process.stderr.write(`prisma generate failed\n${result.stdout}${result.stderr}${result.error ?? ''}\n`);
  process.exit(1);
}
writeFileSync(stampFile, stamp);

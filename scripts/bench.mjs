#!/usr/bin/env node
// npm run bench -- NAME [ARGS]: one benchmark, one JSON object a line, ours and the peers' taken alternately in one run.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [name, ...args] = process.argv.slice(2);
const names = readdirSync(join(root, 'test/bench'))
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.slice(0, -'.bench.ts'.length));
if (!names.includes(name ?? '')) {
  console.error(`usage: npm run bench -- NAME [ARGS]\nNAME is one of: ${names.join(', ')}`);
  process.exit(2);
}
const program = join(root, 'test/dist/bench', `${name}.bench.js`);
if (!existsSync(program)) spawnSync(process.execPath, [join(root, 'scripts/setup.mjs')], { stdio: ['ignore', 'inherit', 'inherit'] });
process.exit(spawnSync(process.execPath, [program, ...args], { stdio: 'inherit' }).status ?? 1);

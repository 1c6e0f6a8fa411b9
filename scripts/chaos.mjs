#!/usr/bin/env node
// npm run chaos -- [--seeds 500] [--from 1]: seeded faults against one agent's containers, until all seeds are done; prints the seed of each failure.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = join(root, 'apps/node-agent/dist/testing/chaos-main.js');
if (!existsSync(program)) spawnSync(process.execPath, [join(root, 'scripts/setup.mjs')], { stdio: ['ignore', 'inherit', 'inherit'] });
process.exit(spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1);

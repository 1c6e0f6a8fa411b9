#!/usr/bin/env node
// npm run churn -- [--containers 1000] [--at-once 4]: containers started and removed on one agent with its pools on; nothing may be left.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = join(root, 'apps/node-agent/dist/testing/churn-main.js');
if (!existsSync(program)) spawnSync(process.execPath, [join(root, 'scripts/setup.mjs')], { stdio: ['ignore', 'inherit', 'inherit'] });
process.exit(spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1);

#!/usr/bin/env node
// npm run edge -- [--rounds 50] [--submissions 500] [--replicas 2]: submissions at once at the edge of every quota, through several replicas of the store.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = join(root, 'libs/store/dist/quota-edge-load.js');
if (!existsSync(program)) spawnSync(process.execPath, [join(root, 'scripts/setup.mjs')], { stdio: 'inherit' });
process.exit(spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1);

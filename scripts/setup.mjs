#!/usr/bin/env node
// Installs and builds what is missing. Plain Node: it runs before any dependency is there.
//
//   node scripts/setup.mjs [--test]      --test adds what only the test suite needs
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native, prismaClient, typescript } from './setup/build.mjs';
import { dependenciesInstalled, hydratePostgres, installDependencies, postgresReady } from './setup/dependencies.mjs';
import { installPackages, missing, runPackages, testPackages } from './setup/packages.mjs';
import { Stamps } from './setup/stamp.mjs';

/** The checkout. */
export const root = resolve(fileURLToPath(import.meta.url), '../..');

/**
 * Makes the checkout ready to run, or with `test` to be tested. Says what it does, one line a step; a step that is done already is silent.
 * Throws an Error whose message tells what to do.
 */
export function setup({ test = false, say = (line) => console.error(line) } = {}) {
  const began = performance.now();
  requireNode();
  const packages = test ? [...runPackages, ...testPackages] : runPackages;
  const stamps = new Stamps(root);
  let steps = 0;
  const step = (title, make) => {
    steps += 1;
    say(`setup: ${title} ...`);
    const start = performance.now();
    make();
    say(`setup: ${title}: done in ${seconds(start)}`);
  };
  const build = (one) => {
    const hash = one.hash();
    if (stamps.has(one.title, hash) && one.made()) return;
    step(one.title, one.make);
    stamps.write(one.title, hash);
  };

  const absent = missing(packages);
  if (absent.length > 0) step(`Debian packages ${absent.join(' ')}`, () => installPackages(packages));
  if (!dependenciesInstalled(root)) step('npm packages', () => installDependencies(root));
  if (!postgresReady(root)) step('embedded Postgres', () => hydratePostgres(root, '/var/lib/berth'));
  build(prismaClient(root));
  build(typescript(root));
  build(native(root));
  if (test) for (const kind of ['sanitized', 'fuzzing']) build(native(root, kind));
  if (steps > 0) say(`setup: ready after ${seconds(began)}`);
}

const seconds = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

function requireNode() {
  if (process.platform !== 'linux') throw new Error(`Berth runs containers of Linux; this machine is ${process.platform}`);
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) throw new Error(`Berth needs Node.js 20.19 or newer; this is ${process.versions.node}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    setup({ test: process.argv.includes('--test') });
  } catch (error) {
    console.error(`setup: ${error.message}`);
    process.exitCode = 1;
  }
}

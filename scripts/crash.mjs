#!/usr/bin/env node
/**
 * Kills the node's image store in the middle of pulls and collections, and looks whether what it left is sound.
 *
 *     npm run crash -- [--seeds N] [--from SEED]
 *
 * One kill for each of N seeds (500 by default), beginning with SEED (1); a seed gives the order of the operations and the moment of the kill. Each layer that the
 * store claims to have afterwards is compared with an undisturbed store's, byte by byte, and by fsck.erofs. Prints one JSON object. Exits with 1 at the first
 * store that is unsound, naming the seed.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setup } from './setup.mjs';

function wholeNumber(text, option) {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new Error(`--${option} ${text}: write a whole number from 1`);
  return Number(text);
}

async function main() {
  const { values } = parseArgs({ options: { seeds: { type: 'string', default: '500' }, from: { type: 'string', default: '1' } } });
  const seeds = wholeNumber(values.seeds, 'seeds');
  const from = wholeNumber(values.from, 'from');
  const rigFile = fileURLToPath(new URL('../libs/image/dist/testing/crash-rig.js', import.meta.url));
  if (!existsSync(rigFile)) setup();
  const { CrashRig } = await import(rigFile);
  const rig = await CrashRig.start();
  const startedMs = performance.now();
  try {
    for (let seed = from; seed < from + seeds; seed++) await rig.trial(seed);
    const store = await rig.open();
    for (const image of rig.images) await rig.pullInto(store, image);
    await rig.check(store);
  } finally {
    await rig.stop();
  }
  console.log(JSON.stringify({ kills: seeds, from, sound: true, seconds: Math.round((performance.now() - startedMs) / 1000) }));
}

await main().catch((error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});

/*
 * npm run chaos -- [--seeds 500] [--from 1]
 *
 * Strikes one run after another with kill -9 and SIGSTOP of agent, launcher and shim at every step of its start and its end, each by its seed, and checks what
 * must hold. Prints each failure with its seed, goes on with a fresh node, and exits with 1 when there was one. Needs root.
 */
import { parseArgs } from 'node:util';
import { faultOf, strike } from './chaos.js';
import { missingForContainers, TestNode } from './test-node.js';

const { values } = parseArgs({ options: { seeds: { type: 'string', default: '500' }, from: { type: 'string', default: '1' } } });
const [from, seeds] = [Number(values.from), Number(values.seeds)];
if (![from, seeds].every((n) => Number.isSafeInteger(n) && n >= 1)) throw new Error('--seeds and --from take whole numbers from 1');
const missing = missingForContainers();
if (missing !== null) throw new Error(`chaos ${missing}`);

const open = async (): Promise<TestNode> => {
  const started = await TestNode.start();
  await started.startAgent();
  await started.run('true');
  return started;
};

let failed = 0;
let node = await open();
const begun = Date.now();
for (let seed = from; seed < from + seeds; seed++) {
  const fault = faultOf(seed);
  try {
    await strike(node, fault);
  } catch (error) {
    failed++;
    console.log(`seed ${seed} ${JSON.stringify(fault)}: ${(error as Error).message}`);
    console.log(`  again: npm run chaos -- --seeds 1 --from ${seed}`);
    await node.close().catch(() => []);
    node = await open();
  }
  if (seed % 50 === 0) console.log(`${seed - from + 1} of ${seeds} seeds, ${failed} failed, ${Math.round((Date.now() - begun) / 1000)} s`);
}
const left = await node.close();
if (left.length > 0) console.log(`left behind: ${left.join('; ')}`);
console.log(`${seeds - failed} of ${seeds} seeds hold, ${left.length} things left`);
process.exit(failed + left.length > 0 ? 1 : 0);

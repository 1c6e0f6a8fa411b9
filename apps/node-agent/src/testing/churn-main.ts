/*
 * npm run churn -- [--containers 1000] [--at-once 4]
 *
 * Starts and removes containers of two tenants on one agent with its pools on, checks that none finds anything of another, and that nothing is left on the
 * machine: by the agent's own look at it, and once it has ended. Prints how many found a sandbox that waited. Exits with 1 when something does not hold. Needs root.
 */
import { parseArgs } from 'node:util';
import { churn } from './churn.js';
import { missingForContainers, TestNode } from './test-node.js';

const { values } = parseArgs({
  options: { containers: { type: 'string', default: '1000' }, 'at-once': { type: 'string', default: '4' } },
});
const [containers, atOnce] = [Number(values.containers), Number(values['at-once'])];
if (![containers, atOnce].every((n) => Number.isSafeInteger(n) && n >= 1))
  throw new Error('--containers and --at-once take whole numbers from 1');
const missing = missingForContainers();
if (missing !== null) throw new Error(`churn ${missing}`);

const node = await TestNode.start();
let failure: unknown = null;
const began = Date.now();
try {
  await node.startAgent({ BERTH_POOL_SANDBOXES: '4', BERTH_POOL_ROOTS: '4' });
  await churn(node, { containers, atOnce });
  const seconds = (Date.now() - began) / 1000;
  console.log(`${containers} containers in ${seconds.toFixed(1)} s, ${atOnce} at a time`);
  const metrics = (await (await node.agent?.fetch('/metrics'))?.text()) ?? '';
  for (const line of metrics.split('\n')) if (line.startsWith('berth_agent_pool_taken_total')) console.log(line);
} catch (error) {
  failure = error;
  console.log((error as Error).message);
}
const left = await node.close();
if (left.length > 0) console.log(`left behind: ${left.join('; ')}`);
console.log(`${left.length} things left`);
process.exit(failure === null && left.length === 0 ? 0 : 1);

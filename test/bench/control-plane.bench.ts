/*
 * npm run bench -- control-plane [--queued 100000] [--tenants 1,100,1000] [--submissions 1000] [--paced 100] [--seconds 10]
 *
 * The control plane alone: nodes that speak the agent link and run nothing, real Postgres and Redis, all on this machine. Submissions accepted a second;
 * submit to dispatched, idle and beside a flood; placements a second with a long queue of few and many tenants, from placement to the reported end of each
 * run; the control plane's memory. Bare SQL and bare BullMQ as floors in the same run.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const load = fileURLToPath(new URL('../../../apps/control-plane/dist/testing/control-plane-load.js', import.meta.url));
process.exitCode = spawnSync(process.execPath, [load, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1;

import { eventually, slowness, type TestNode } from './test-node.js';

/** What `churn` is to do. */
export interface Churn {
  readonly containers: number;
  readonly atOnce: number;
}

/** Every so-manieth is stopped while it runs, by a cancel. */
const stoppedEvery = 10;
const traces = 'echo mine > /tmp/left; echo mine > /dev/shm/left; echo 6.6.6.6 left >> /etc/hosts';

/**
 * Starts and removes containers of two tenants, some lanes of them at a time, and checks of each that it found nothing of another one and ended as it was told; then that
 * nothing is left on the machine (I13). Throws what does not hold.
 */
export async function churn(node: TestNode, { containers, atOnce }: Churn): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < containers; index = next++) await one(node, index);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  await node.idle();
  let left: readonly unknown[] = [];
  // The kernel takes links and loop devices down a little after the last use; a pool that fills holds what it makes.
  await eventually(
    async () => {
      left = (await (await node.agent?.fetch('/leftovers'))?.json()) as readonly unknown[];
      return left.length === 0;
    },
    'nothing is left',
    10_000 * slowness,
  ).catch(() => {
    throw new Error(`after ${containers} containers this is left: ${JSON.stringify(left)}`);
  });
}

async function one(node: TestNode, index: number): Promise<void> {
  const exitCode = index % 120;
  const isStopped = index % stoppedEvery === stoppedEvery - 1;
  const script = `ls /tmp /dev/shm; cat /etc/hosts; ${traces}; echo done; ${isStopped ? 'sleep 600' : `exit ${exitCode}`}`;
  const run = { ...node.assignment({ command: ['/bin/sh', '-c', script] }), tenant: `tenant-${index % 2}` };
  node.server.assign(run);
  if (isStopped) {
    await node.outputs(run, 'done');
    node.server.stop(run, 'canceled', 0);
  }
  const { exit, end, output } = await node.ended(run, 60_000 * slowness);
  const isAsTold = isStopped ? exit?.signal === 9 && exit.stoppedBy === 'request' : exit?.exitCode === exitCode;
  if (!isAsTold)
    throw new Error(`container ${index} was to ${isStopped ? 'be stopped' : `end with ${exitCode}`}, and ended so: ${JSON.stringify(end)}`);
  if (!output.endsWith('done\n')) throw new Error(`container ${index} wrote ${JSON.stringify(output)}`);
  if (/left/.test(output)) throw new Error(`container ${index} found what another has left: ${output}`);
}

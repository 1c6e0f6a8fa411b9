import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentProcess, nativeDirectory } from './testing/agent-process.js';
import { defaultSpec } from './testing/default-spec.js';
import { ProtocolServer } from './testing/protocol-server.js';
import { missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
const MiB = 1024 * 1024;
const spec = (diskBytes: number, script: string) => ({
  command: ['/bin/sh', '-c', script],
  resources: { ...defaultSpec.resources, diskBytes },
});
/** Writes until nothing goes in any more, and tells how that ended. */
const fill = 'dd if=/dev/zero of=/fill bs=64k count=512 2>/dev/shm/said; echo $?; grep -c "No space left" /dev/shm/said; wc -c < /fill';

describe.skipIf(missing !== null)(`a run's disk limit${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeEach(async () => {
    node = await TestNode.start();
  });
  afterEach(async () => {
    expect(await node.close()).toEqual([]);
  });

  it.each(['image', 'tmpfs'])('is kept by %s, named to the control plane and in metrics', async (by) => {
    const agent = await node.startAgent({ BERTH_DISK_LIMIT: by, BERTH_NODE_DISK_BYTES: String(64 * MiB) });
    expect(node.server.hellos.at(-1)).toMatchObject({ diskBytes: 64 * MiB, features: expect.arrayContaining([`disk:${by}`]) });
    expect(await (await agent.fetch('/metrics')).text()).toContain(`berth_agent_disk_limit{by="${by}"} 1`);
    const { output, exit } = await node.run(spec(8 * MiB, fill));
    expect(exit).toMatchObject({ exitCode: 0, oomKilled: false });
    const [status, said, bytes] = output.split('\n').map(Number);
    expect([status, said]).toEqual([1, 1]);
    expect(bytes).toBeGreaterThan(6 * MiB);
    expect(bytes).toBeLessThanOrEqual(8 * MiB);
    const files = await node.run(
      spec(8 * MiB, 'i=0; while touch /f$i 2>/dev/null; do i=$((i+1)); [ $i -lt 2000 ] || break; done; echo $i'),
    );
    expect(Number(files.output)).toBeGreaterThan(400);
    expect(Number(files.output)).toBeLessThan(700);
    // Who does not ask is bounded by the node alone.
    expect((await node.run('dd if=/dev/zero of=/fill bs=1M count=20 2>/dev/null; wc -c < /fill')).output).toBe(`${20 * MiB}\n`);
  });

  it('outlives the agent, and nothing is left of it', async () => {
    await node.startAgent();
    const assignment = node.assignment(spec(8 * MiB, 'echo up; sleep 20'));
    node.server.assign(assignment);
    await node.outputs(assignment, 'up');
    await node.agent?.end('SIGKILL');
    await node.startAgent();
    expect(await (await node.agent?.fetch('/leftovers'))?.json()).toEqual([]);
    node.server.stop(assignment, 'canceled', 0);
    await node.ended(assignment);
    await node.idle();
    expect(await (await node.agent?.fetch('/leftovers'))?.json()).toEqual([]);
  });

  it('is not offered where the operator wants none', async () => {
    await node.startAgent({ BERTH_DISK_LIMIT: 'none' });
    expect(node.server.hellos.at(-1)).not.toHaveProperty('diskBytes');
    const { end } = await node.run(spec(8 * MiB, 'true'));
    expect(end).toMatchObject({
      kind: 'failed',
      retryable: true,
      failure: { blame: 'platform', message: expect.stringContaining('diskBytes') },
    });
  });

  it('is chosen by the operator only where the machine can, with what is wrong and the way out', async () => {
    const start = AgentProcess.start({
      BERTH_URL: node.server.url,
      BERTH_JOIN_TOKEN: ProtocolServer.joinToken,
      BERTH_AGENT_DIR: `${node.directory}/agent`,
      BERTH_AGENT_RUN_DIR: `${node.directory}/run`,
      BERTH_AGENT_METRICS_PORT: '0',
      BERTH_NATIVE_DIR: nativeDirectory(),
      BERTH_DISK_LIMIT: 'project-quota',
    });
    await expect(start).rejects.toThrow(/BERTH_DISK_LIMIT: .*not mounted with project quota \(prjquota\).*choose another way, or auto/s);
  });
});

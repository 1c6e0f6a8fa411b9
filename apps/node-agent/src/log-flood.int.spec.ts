import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missingForContainers, slowness, TestNode } from './testing/test-node.js';

const missing = missingForContainers();
const MiB = 1024 * 1024;

describe.skipIf(missing !== null)(`a log flood${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
    await node.startAgent({ BERTH_AGENT_LOG_MAX_BYTES: String(8 * MiB) });
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  it('is cut at the limit, marked, and delays neither heartbeats nor a neighbour', async () => {
    const line = 'x'.repeat(1000);
    const flood = node.assignment({ command: ['/bin/sh', '-c', `yes ${line} | head -c 64000000`] });
    const begun = Date.now();
    node.server.assign(flood);
    await node.running(flood);
    const neighbour = await node.run('echo calm');
    expect(neighbour.output).toBe('calm\n');

    const { exit, output } = await node.ended(flood);
    expect(exit?.logDroppedBytes).toBeGreaterThan(0);
    expect(node.server.logOf(flood)).toHaveLength(exit?.logBytes ?? 0);
    const lines = output.trimEnd().split('\n');
    expect(lines.pop()).toBe(`[berth: ${exit?.logDroppedBytes} bytes of output dropped]`);
    expect(lines.slice(0, -1).every((text) => text === line)).toBe(true);

    const beats = node.server.heartbeats.map(({ at }) => at).filter((at) => at >= begun);
    const gaps = beats.slice(1).map((at, index) => at - (beats[index] ?? at));
    expect(Math.max(...gaps)).toBeLessThan(3000 * slowness);
  });

  it('of a slow reader waits for its window', async () => {
    node.server.logWindowBytes = 64 * 1024;
    const { exit, assignment } = await node.run(`yes ${'y'.repeat(500)} | head -c 3000000`);
    expect(node.server.logOf(assignment)).toHaveLength(exit?.logBytes ?? 0);
    expect(node.server.violations).toEqual([]);
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();

describe.skipIf(missing !== null)(`an agent whose disk is above its mark${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
    // Any layer at all is too much.
    await node.startAgent({ BERTH_IMAGES_MAX_BYTES: '1', BERTH_IMAGES_CHECK_MS: '100' });
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  const here = async (): Promise<readonly string[]> => {
    const usage = (await (await node.agent?.fetch('/images'))?.json()) as { images: { digest: string }[] };
    return usage.images.map(({ digest }) => digest);
  };
  const metric = async (name: string): Promise<number> => {
    const text = (await (await node.agent?.fetch('/metrics'))?.text()) ?? '';
    return Number(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} ([0-9.e+]+)$`, 'm').exec(text)?.[1]);
  };

  it('removes the images that no attempt has, and never the one of a running container', async () => {
    const own = [{ type: 'file', path: '/own', content: 'still here\n' }] as const;
    const used = await node.addImage({}, [...own]);
    const other = await node.addImage({ Cmd: ['/bin/true'] }, [{ type: 'file', path: '/other', content: 'gone soon' }]);
    const script = 'while ! [ -e /tmp/go ]; do sleep 0.1; done; cat /own /data/original';
    const long = node.assignment({ command: ['/bin/sh', '-c', `echo up; (sleep 3; touch /tmp/go) & ${script}`] }, used);
    node.server.assign(long);
    await node.outputs(long, 'up');
    await node.run({}, other);
    await eventually(async () => (await here()).join() === used, 'the other image is removed');
    await eventually(async () => (await metric('berth_agent_images_collected_total')) === 1, 'the removal is counted');
    expect(await metric('berth_agent_images_collected_bytes_total')).toBeGreaterThan(0);
    expect((await node.ended(long)).output).toBe('up\nstill here\nfrom the layer\n');
    await eventually(async () => (await here()).length === 0, 'its image follows when the container has gone');
  });

  it('tells the control plane of its disk, and again when that has changed', async () => {
    const told = () => node.server.heartbeats.flatMap(({ message }) => message.disk ?? []);
    expect(told()[0]).toMatchObject({ images: 0, layers: 0, totalBytes: 0, capacityBytes: expect.any(Number) });
    const image = await node.addImage({}, [{ type: 'file', path: '/told', content: 'of its own' }]);
    const long = node.assignment({ command: ['/bin/sleep', '2'] }, image);
    node.server.assign(long);
    await node.running(long);
    await eventually(() => told().at(-1)?.images === 1, 'the image is told');
    expect(told().at(-1)).toMatchObject({ layers: 2, unusedBytes: 0, totalBytes: expect.any(Number) });
    await node.ended(long);
    await eventually(() => told().at(-1)?.images === 0, 'the collection is told');
    expect(told().length).toBeLessThan(node.server.heartbeats.length);
  });

  it('starts containers from what it has just pulled, whatever it removes meanwhile', async () => {
    const images = await Promise.all(
      [1, 2, 3].map((n) => node.addImage({ Cmd: ['/bin/cat', '/n'] }, [{ type: 'file', path: '/n', content: `${n}\n` }])),
    );
    const ended = await Promise.all([...images, ...images].map((image) => node.run({}, image)));
    expect(ended.map(({ output }) => output)).toEqual(['1\n', '2\n', '3\n', '1\n', '2\n', '3\n']);
  });

  it('removes an image although sandboxes wait with its root', async () => {
    await node.agent?.end('SIGTERM');
    await node.startAgent({
      BERTH_POOL_SANDBOXES: '1',
      BERTH_POOL_ROOTS: '2',
      BERTH_IMAGES_MAX_BYTES: '1',
      BERTH_IMAGES_CHECK_MS: '3000',
    });
    const image = await node.addImage({ Cmd: ['/bin/true'] }, [{ type: 'file', path: '/waits', content: 'for a run' }]);
    await node.run({}, image);
    await eventually(async () => (await metric('berth_agent_pool_sandboxes{kind="root"}')) > 0, 'some wait with their root');
    await eventually(async () => (await here()).length === 0, 'the image is removed');
    expect(await metric('berth_agent_pool_sandboxes{kind="root"}')).toBe(0);
  });
});

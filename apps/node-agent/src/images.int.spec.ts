import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MEDIA_TYPES } from '@berth/image';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, missingForContainers, TestNode } from './testing/test-node.js';

const missing = missingForContainers();

/** The small files below a folder that hold `text`; layers and snapshots are left out. */
async function filesWith(folder: string, text: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !['layers', 'snapshots'].includes(entry.name)) found.push(...(await filesWith(path, text)));
    if (entry.isFile() && (await readFile(path, 'utf8')).includes(text)) found.push(path);
  }
  return found;
}

describe.skipIf(missing !== null)(`pulls of an agent${missing === null ? '' : ` (${missing})`}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.start();
    await node.startAgent();
  });
  afterAll(async () => {
    expect(await node.close()).toEqual([]);
  });

  const failure = async (image: string) => {
    const { end } = await node.run({}, image);
    expect(end.kind).toBe('failed');
    return end.kind === 'failed' ? { ...end.failure, retryable: end.retryable } : null;
  };

  it('blames the run for an image that is not there', async () => {
    expect(await failure(`sha256:${'0'.repeat(64)}`)).toMatchObject({ code: 'imagePullFailed', blame: 'user', retryable: false });
  });

  it('blames the run for an image of another platform', async () => {
    const image = node.registry.addManifest(MEDIA_TYPES.ociIndex, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [{ mediaType: MEDIA_TYPES.ociManifest, digest: node.image, size: 1, platform: { os: 'linux', architecture: 's390x' } }],
    });
    expect(await failure(image)).toMatchObject({ code: 'imagePullFailed', blame: 'user', retryable: false });
  });

  it('blames the run for a manifest that is none', async () => {
    const image = node.registry.addManifest(MEDIA_TYPES.ociManifest, { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest });
    expect(await failure(image)).toMatchObject({ code: 'imagePullFailed', blame: 'user', retryable: false });
  });

  it('blames the platform for a registry that is down, so that another attempt may follow', async () => {
    node.registry.broken = true;
    try {
      expect(await failure(node.image)).toMatchObject({ code: 'imagePullFailed', blame: 'platform', retryable: true });
    } finally {
      node.registry.broken = false;
    }
  });

  it('pulls with the credential of the assignment, which is written nowhere', async () => {
    node.registry.authorization = `Basic ${Buffer.from('user:top-secret').toString('base64')}`;
    try {
      expect(await failure(node.image)).toMatchObject({ code: 'imagePullFailed', blame: 'user' });
      const assignment = { ...node.assignment({ command: ['/bin/sleep', '1'] }), pullAuthorization: node.registry.authorization };
      node.server.assign(assignment);
      await node.running(assignment);
      expect(await filesWith(join(node.directory, 'agent'), node.registry.authorization)).toEqual([]);
    } finally {
      node.registry.authorization = undefined;
    }
    expect(node.agent?.log).not.toContain('top-secret');
  });

  it('stops while it pulls, and never starts the container', async () => {
    let open = (): void => {};
    node.registry.gate = new Promise((resolve) => {
      open = resolve;
    });
    const before = node.registry.blobRequests;
    const image = await node.addImage({ Cmd: ['/bin/true'] }, [{ type: 'file', path: '/unique', content: 'of this test' }]);
    const assignment = node.assignment({}, image);
    node.server.assign(assignment);
    await eventually(() => node.registry.blobRequests > before, 'the pull begins');
    node.server.stop(assignment, 'canceled', 10_000);
    const { reports } = await node.ended(assignment);
    open();
    expect(reports.map(({ kind }) => kind)).toEqual(['preparing', 'stopped']);
    await node.idle();
  });

  it('answers a stop for what it never had', async () => {
    const assignment = node.assignment({});
    node.server.stop(assignment, 'canceled', 10_000);
    expect((await node.ended(assignment)).end.kind).toBe('stopped');
  });

  it('downloads a layer once, for however many images and runs', async () => {
    const layer = [{ type: 'file', path: '/shared', content: 'by both\n' }] as const;
    const [one, other] = [
      await node.addImage({ Cmd: ['/bin/cat', '/shared'] }, [...layer]),
      await node.addImage({ Entrypoint: ['/bin/cat'], Cmd: ['/shared'] }, [...layer]),
    ];
    const before = node.registry.blobRequests;
    const ended = await Promise.all([node.run({}, one), node.run({}, other), node.run({}, one)]);
    expect(ended.map(({ output }) => output)).toEqual(['by both\n', 'by both\n', 'by both\n']);
    // A layer and two configurations; the userland's layer is here already.
    expect(node.registry.blobRequests - before).toBe(3);
  });

  it('refuses hostile configurations and blames the image', async () => {
    const refused = async (config: object) => {
      const { end } = await node.run({ command: ['/bin/true'] }, await node.addImage(config));
      expect(end).toMatchObject({ kind: 'failed', retryable: false, failure: { blame: 'user' } });
    };
    await refused({ Env: ['NO_EQUALS'] });
    await refused({ Env: ['=nothing'] });
    await refused({ Env: ['A\nB=1'] });
    await refused({ StopSignal: 'SIGNONE' });
    await refused({ User: '4294967296' });
    await refused({ User: 'root:4294967296' });
    await refused({ WorkingDir: 'relative' });
  });

  it('is not led out of the image by its account files', async () => {
    const user = async (...entries: Parameters<TestNode['addImage']>[1]) => {
      const image = await node.addImage({ User: 'app', Cmd: ['/bin/id', '-u'] }, entries);
      const { end, output } = await node.run({}, image);
      return end.kind === 'failed' ? end.failure.blame : output;
    };
    expect(await user({ type: 'symlink', path: '/etc/passwd', target: '/../../../../../etc/passwd' })).toBe('user');
    expect(await user({ type: 'directory', path: '/etc/passwd' })).toBe('user');
    expect(await user({ type: 'file', path: '/etc/passwd', content: 'app:x:4294967296:0::/:\n' })).toBe('user');
    expect(await user({ type: 'file', path: '/etc/passwd', content: `${'#'.repeat(2 * 1024 * 1024)}\n` })).toBe('user');
    expect(
      await user(
        { type: 'symlink', path: '/etc/passwd', target: '../store/passwd' },
        { type: 'file', path: '/store/passwd', content: 'app:x:7:7::/:\n' },
      ),
    ).toBe('7\n');
  });
});

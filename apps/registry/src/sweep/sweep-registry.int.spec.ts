import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RegistryUnderTest, startRegistryUnderTest, type TestTenant } from '../testing/registry-under-test.js';

let registry: RegistryUnderTest;
let acme: TestTenant;
const graceMs = 400;

beforeEach(async () => {
  registry = await startRegistryUnderTest({ sweepGraceMs: graceMs });
  acme = await registry.tenant('acme');
});
afterEach(() => registry.close());

const contents = async (): Promise<string[]> =>
  (await readdir(join(registry.directory, 'blobs'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);

describe('the garbage collector', () => {
  it('keeps what manifests name, tagged or not, and removes the rest after the grace', async () => {
    const image = await acme.client.pushImage('acme/web', 'v1', 'kept');
    const moved = await acme.client.pushImage('acme/web', 'v1', 'kept without a tag');
    const orphan = await acme.client.pushBlob('acme/web', 'named by nobody');
    const early = await registry.running.sweep();
    expect(early).toMatchObject({ removedLinks: 0, removedContents: 0 });

    await sleep(graceMs + 50);
    const outcome = await registry.running.sweep();
    expect(outcome).toMatchObject({ removedLinks: 1, removedContents: 1, freedBytes: 'named by nobody'.length, contents: 6 });
    expect(await acme.client.status('HEAD', `/v2/acme/web/blobs/${orphan}`)).toBe(404);
    for (const { digest, layer, config } of [image, moved]) {
      expect(await acme.client.status('GET', `/v2/acme/web/manifests/${digest}`)).toBe(200);
      for (const blob of [layer, config]) expect(await acme.client.status('GET', `/v2/acme/web/blobs/${blob}`)).toBe(200);
    }
  });

  it('removes the bytes of a deleted image, but not those that another tenant holds', async () => {
    const rival = await registry.tenant('rival');
    const mine = await acme.client.pushImage('acme/web', 'v1', 'shared');
    await rival.client.pushImage('rival/web', 'v1', 'shared');
    const alone = await acme.client.pushImage('acme/web', 'v2', 'alone');
    for (const { digest } of [mine, alone]) await acme.client.status('DELETE', `/v2/acme/web/manifests/${digest}`);
    await sleep(graceMs + 50);
    expect(await registry.running.sweep()).toMatchObject({ removedLinks: 4, removedContents: 3 });
    expect((await contents()).sort()).toEqual([mine.digest, mine.layer, mine.config].map((digest) => digest.slice(7)).sort());
    expect(await rival.client.status('GET', `/v2/rival/web/blobs/${mine.layer}`)).toBe(200);
    expect(await acme.client.status('GET', `/v2/acme/web/blobs/${mine.layer}`)).toBe(404);
  });

  it('gives a blob that a pusher found already here a new grace', async () => {
    const blob = await acme.client.pushBlob('acme/web', 'found again');
    await sleep(graceMs + 50);
    expect(await acme.client.status('HEAD', `/v2/acme/web/blobs/${blob}`)).toBe(200);
    expect(await registry.running.sweep()).toMatchObject({ removedLinks: 0, removedContents: 0 });
  });

  it('removes what a crash left between content and link', async () => {
    const blob = await acme.client.pushBlob('acme/web', 'content without a link');
    await rm(join(registry.directory, 'repositories/acme/web/_blobs/sha256', blob.slice(7)));
    await sleep(graceMs + 50);
    expect(await registry.running.sweep()).toMatchObject({ removedContents: 1 });
    expect(await contents()).toEqual([]);
  });

  it('beside pushes of the same bytes never takes what an answer promised', async () => {
    const eager = await startRegistryUnderTest({ sweepGraceMs: 1 });
    try {
      const { client } = await eager.tenant('acme');
      let stop = false;
      const sweeping = (async () => {
        while (!stop) await eager.running.sweep();
      })();
      // Grace is next to nothing, so a link may go before its manifest comes: then the push is refused, never accepted and broken.
      for (let turn = 0; turn < 60; turn += 1) {
        const pushed = await client.pushImage('acme/race', 'v1', `layer ${turn % 3}`).catch(() => null);
        if (pushed === null) continue;
        for (const blob of [pushed.layer, pushed.config]) expect(await client.status('GET', `/v2/acme/race/blobs/${blob}`)).toBe(200);
        await client.status('DELETE', `/v2/acme/race/manifests/${pushed.digest}`);
      }
      stop = true;
      await sweeping;
    } finally {
      await eager.close();
    }
  });
});

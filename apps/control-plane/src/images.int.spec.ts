import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';

describe("a tenant's images", () => {
  let service: ServiceUnderTest;
  let acme: TestTenant;
  let rival: TestTenant;
  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres');
    acme = await service.tenant();
    rival = await service.tenant();
  });
  afterAll(() => service.close());

  type Listed = { repository: string; tags: string[]; digest: string; activeRuns: number };
  const list = async (tenant: TestTenant) => (await tenant.api.get('/v1/images')).json.items as Listed[];
  const remove = (tenant: TestTenant, image: string, more = '') =>
    tenant.api.send('DELETE', `/v1/images?image=${encodeURIComponent(image)}${more}`);
  const details = (tenant: TestTenant, image: string) => tenant.api.get(`/v1/images/details?image=${encodeURIComponent(image)}`);

  it('are listed with their runs, and are nobody else’s to see or remove', async () => {
    await acme.api.post('/v1/runs', { image: acme.image });
    const [own, ...others] = await list(acme);
    expect(own).toMatchObject({ repository: acme.image.replace(/:v1$/, ''), tags: ['v1'], digest: acme.digest, activeRuns: 1 });
    expect(others).toEqual([]);
    expect((await list(rival)).map(({ repository }) => repository)).toEqual([rival.image.replace(/:v1$/, '')]);
    expect((await details(rival, acme.image)).status).toBe(422);
    expect((await details(rival, acme.image)).json).toMatchObject({ code: 'imageNotFound' });
    expect((await remove(rival, acme.image)).status).toBe(404);
    expect((await remove(rival, `${acme.image.replace(/:v1$/, '')}@${acme.digest}`)).json).toMatchObject({ code: 'notFound' });
    expect(await list(acme)).toHaveLength(1);
  });

  it('stay while a run that has not ended needs them, unless forced', async () => {
    const image = acme.image.replace(/:v1$/, ':busy');
    await service.push(acme.key, `${acme.name}/app`, 'busy', 'amd64');
    const { json } = await acme.api.post('/v1/runs', { image });
    expect((await remove(acme, image)).json).toMatchObject({ code: 'conflict' });
    await acme.api.post('/v1/images/prune', { all: true, olderThanMs: 0 });
    expect((await list(acme)).flatMap(({ tags }) => tags)).toContain('busy');
    await acme.api.post(`/v1/runs/${json.id as string}/cancel`, {});
    expect((await remove(acme, image)).json).toMatchObject({ untagged: [image], deleted: [expect.stringContaining('@sha256:')] });
    expect((await list(acme)).flatMap(({ tags }) => tags)).not.toContain('busy');
  });

  it('lose their tag first, and are pruned without one', async () => {
    const repository = `${rival.name}/moved`;
    const old = await service.push(rival.key, repository, 'v1', 'amd64', 'old');
    await service.push(rival.key, repository, 'v1', 'amd64', 'new');
    expect((await list(rival)).find(({ digest }) => digest === old)?.tags).toEqual([]);
    // It may be part of a push that is not at its end.
    expect((await rival.api.post('/v1/images/prune', {})).json).toEqual({ untagged: [], deleted: [], freedBytes: 0 });
    const { json } = await rival.api.post('/v1/images/prune', { olderThanMs: 0 });
    expect(json).toMatchObject({ deleted: [`registry.berth/${repository}@${old}`], untagged: [] });
    expect(json.freedBytes).toBeGreaterThan(0);
    expect((await list(rival)).map(({ tags }) => tags)).toEqual([['v1'], ['v1']]);
  });

  it('tell their layers and history', async () => {
    const { status, json } = await details(rival, rival.image);
    expect(status).toBe(200);
    expect(json).toMatchObject({
      image: rival.image,
      digest: rival.digest,
      manifestDigest: rival.digest,
      platform: 'linux/amd64',
      createdAt: null,
    });
    const [layer] = json.layers as { digest: string; sizeBytes: number }[];
    expect(json.history).toEqual([{ createdAt: null, createdBy: '', comment: '', layer: layer?.digest, sizeBytes: layer?.sizeBytes }]);
  });

  it('are part of what a tenant occupies', async () => {
    const { json } = await acme.api.get('/v1/disk-usage');
    const { usage } = (await acme.api.get('/v1/images')).json as { usage: object };
    expect(json).toMatchObject({ images: usage, containers: { active: 0 }, logs: { runs: 2, endedRuns: 1 } });
  });
});

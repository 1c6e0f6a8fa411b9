import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';
import { type Answer, TestClient } from './testing/test-client.js';

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required: boolean;
  readonly schema: { readonly pattern?: string };
}
interface Operation {
  readonly tags: readonly string[];
  readonly parameters: readonly Parameter[];
}

/** Bodies that are valid, so that what is refused is the id. Routes that are not here take `{}`. */
const bodies: Readonly<Record<string, unknown>> = {
  'PATCH /v1/members/{id}': { role: 'reader' },
  'POST /v1/runs/{id}/commit': { name: 'made' },
};

/**
 * Walks the service's own document: every route that takes something in its path is asked for what another tenant has, and for what nobody has. A route
 * with a new kind of name fails here until the other tenant is given one of that kind.
 */
describe('a route', () => {
  let service: ServiceUnderTest;
  let tenant: TestTenant;
  let other: TestTenant;
  let asker: TestClient;
  /** What the other tenant has, and beside it what nobody has, by kind. */
  const samples = new Map<string, { readonly foreign: string; readonly unknown: string }>();

  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres');
    [tenant, other] = [await service.tenant(), await service.tenant()];
    const [mine, theirs] = await Promise.all([adminOf(tenant), adminOf(other)]);
    asker = mine;
    const run = await theirs.post('/v1/runs', { image: other.image, args: ['0'] });
    const key = await theirs.post('/v1/keys', { name: 'k' });
    const member = await theirs.post('/v1/members', { name: 'm', role: 'reader' });
    for (const [prefix, { json }] of Object.entries({ run, key, mem: member }))
      samples.set(prefix, { foreign: json.id, unknown: `${prefix}_01m84hrxq4g7c9h2rt5b16rk65` });
  });
  afterAll(() => service.close());

  async function adminOf({ id }: TestTenant): Promise<TestClient> {
    const made = await service.admin.post(`/v1/admin/tenants/${id}/keys`, { name: 'admin', role: 'admin' });
    return new TestClient(service.url, made.json.secret);
  }

  it("answers what is another tenant's exactly as what nobody has: status, headers and body", async () => {
    const { paths } = (await asker.get('/openapi.json')).json as { paths: Record<string, Record<string, Operation>> };
    let asked = 0;
    for (const [path, operations] of Object.entries(paths)) {
      for (const [name, { tags, parameters }] of Object.entries(operations)) {
        const inPath = parameters.filter((parameter) => parameter.in === 'path');
        const last = inPath.at(-1);
        const isOperators = tags[0] === 'operator';
        // To the operator no tenant is foreign; only what hangs below a tenant can be another's.
        if (last === undefined || (isOperators && inPath.length < 2)) continue;
        const method = name.toUpperCase();
        const sample = samples.get(kindOf(last));
        expect(sample, `${method} ${path}: give the other tenant of this test a ${kindOf(last)}`).toBeDefined();
        const body = method === 'GET' || method === 'DELETE' ? undefined : (bodies[`${method} ${path}`] ?? {});
        const client = isOperators ? service.admin : asker;
        const ask = (id: string) => client.send(method, fill(path, id), body);
        const nobodys = await ask(sample?.unknown ?? '');
        expect([method, path, nobodys.status]).toEqual([method, path, 404]);
        for (const id of [sample?.foreign ?? '', '..%2f..%2fadmin', `${sample?.foreign}%00`]) {
          expect([method, path, seen(await ask(id))]).toEqual([method, path, seen(nobodys)]);
        }
        asked++;
      }
    }
    expect(asked).toBeGreaterThan(10);
  });

  it("answers another tenant's image, which stands in the query, exactly as one that nobody has", async () => {
    const { paths } = (await asker.get('/openapi.json')).json as { paths: Record<string, Record<string, Operation>> };
    let asked = 0;
    for (const [path, operations] of Object.entries(paths)) {
      for (const [method, { parameters }] of Object.entries(operations)) {
        const required = parameters.filter((parameter) => parameter.in === 'query' && parameter.required);
        expect([path, required.filter(({ name }) => name !== 'image')]).toEqual([path, []]);
        if (required.length === 0) continue;
        const [theirs, nobodys] = await Promise.all(
          [other.image, other.image.replace('app', 'aqq')].map((image) =>
            asker.send(method.toUpperCase(), `${path}?image=${encodeURIComponent(image)}`),
          ),
        );
        const alike = (answer: Answer | undefined) => JSON.stringify(answer === undefined ? null : seen(answer)).replaceAll('aqq', 'app');
        expect([path, method, nobodys?.json.code]).toEqual([
          path,
          method,
          expect.stringMatching(/notFound|imageNotFound|imageUnauthorized/),
        ]);
        expect([path, method, alike(theirs)]).toEqual([path, method, alike(nobodys)]);
        asked++;
      }
    }
    expect(asked).toBeGreaterThan(1);
  });

  it("shows nothing of another tenant's in any list, and changed nothing of it", async () => {
    const { paths } = (await asker.get('/openapi.json')).json as { paths: Record<string, Record<string, Operation>> };
    const lists = Object.entries(paths).filter(
      ([path, { get }]) =>
        get?.tags[0] === 'tenant' && !path.includes('{') && path !== '/v1/events' && !get.parameters.some(({ required }) => required),
    );
    for (const [path] of lists) {
      const { text, status } = await asker.get(path);
      expect([path, status]).toEqual([path, 200]);
      for (const id of [other.id, other.name, ...[...samples.values()].map(({ foreign }) => foreign)])
        expect([path, text.includes(id)]).toEqual([path, false]);
    }
    const theirs = await adminOf(other);
    expect((await theirs.get(`/v1/runs/${samples.get('run')?.foreign}`)).json).toMatchObject({ cancelRequested: false, state: 'queued' });
    const keys = (await theirs.get('/v1/keys')).json.items as { revokedAt: string | null }[];
    expect(keys.filter(({ revokedAt }) => revokedAt !== null)).toEqual([]);
    expect((await theirs.get('/v1/members')).json.items).toHaveLength(1);
  });

  /** The own tenant where a path begins with one, and `id` at its end. */
  function fill(path: string, id: string): string {
    const parts = path.split(/\{\w+\}/);
    return parts.length > 2 ? `${parts[0]}${tenant.id}${parts.slice(1, -1).join(tenant.id)}${id}${parts.at(-1)}` : parts.join(id);
  }
});

/** The prefix of its ids, or its name where it is no id. */
function kindOf({ name, schema }: Parameter): string {
  return /^\^(\w+?)_/.exec(schema.pattern ?? '')?.[1] ?? name;
}

/** All that a client can tell answers apart by, but for what differs between any two. */
function seen({ status, headers, json }: Answer): unknown {
  const { requestId: _, ...body } = json as Record<string, unknown>;
  const kept = [...headers].filter(([name]) => !['date', 'x-request-id'].includes(name));
  return { status, headers: Object.fromEntries(kept), body };
}

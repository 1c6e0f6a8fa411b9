import { describe, expect, it } from 'vitest';
import { codeOf, useRegistries } from '../testing/registry-fixture.js';

const fixture = useRegistries();

describe('credentials', () => {
  const authorization = `Basic ${Buffer.from('user:secret').toString('base64')}`;

  const challenge = (realm: string) =>
    (fixture.registry.intercept = (request, response) => {
      if (request.headers.authorization === 'Bearer good') return false;
      if (request.url?.startsWith('/token')) {
        response.end(JSON.stringify({ token: 'good' }));
        return true;
      }
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="test",scope="repository:evil:delete"` }).end();
      return true;
    });

  it('are traded for a token at the registry’s own realm, for our scope and not the challenge’s', async () => {
    challenge(`${fixture.registry.url}/token`);
    await fixture.clientOf({ authorization }).fetchManifest(fixture.reference());
    const token = fixture.registry.seen.find(({ path }) => path.startsWith('/token'));
    expect(token?.headers.authorization).toBe(authorization);
    expect(decodeURIComponent(token?.path ?? '')).toContain('scope=repository:team/app:pull');
    expect(token?.path).not.toContain('evil');
  });

  it('are not sent to a realm on another host; an anonymous token is asked for', async () => {
    challenge(`${fixture.other.url}/token`);
    fixture.other.intercept = (_request, response) => Boolean(response.end(JSON.stringify({ access_token: 'good' })));
    await fixture.clientOf({ authorization }).fetchManifest(fixture.reference());
    expect(fixture.other.seen).toHaveLength(1);
    expect(fixture.other.seen[0]?.headers.authorization).toBeUndefined();
  });

  it('are sent to another host’s realm that the operator trusts', async () => {
    challenge(`${fixture.other.url}/token`);
    fixture.other.intercept = (_request, response) => Boolean(response.end(JSON.stringify({ token: 'good' })));
    const resolveRegistry = (host: string) => ({ url: `http://${host}`, allowInternal: true, tokenRealms: [fixture.other.url] });
    await fixture.clientOf({ authorization, resolveRegistry }).fetchManifest(fixture.reference());
    expect(fixture.other.seen[0]?.headers.authorization).toBe(authorization);
  });

  it('do not follow a redirect to another host, nor does a token', async () => {
    for (const credential of [authorization, 'Bearer good']) {
      fixture.registry.reset();
      fixture.other.reset();
      fixture.other.addBlob(fixture.layer.blob);
      fixture.registry.intercept = (request, response) => {
        if (!fixture.isLayer(request)) return false;
        response.writeHead(307, { location: `${fixture.other.url}/blobs/${fixture.layer.digest}` }).end();
        return true;
      };
      await fixture.readLayer(fixture.clientOf({ authorization: credential }));
      expect(fixture.registry.seen[0]?.headers.authorization).toBe(credential);
      expect(fixture.other.seen).toHaveLength(1);
      expect(fixture.other.seen[0]?.headers.authorization).toBeUndefined();
    }
  });

  it('stay with a redirect within the registry', async () => {
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request) || request.url?.startsWith('/elsewhere')) return false;
      response.writeHead(302, { location: `/elsewhere/blobs/${fixture.layer.digest}` }).end();
      return true;
    };
    await fixture.readLayer(fixture.clientOf({ authorization }));
    expect(fixture.registry.seen.at(-1)?.headers.authorization).toBe(authorization);
  });

  it('belong to one registry; the client speaks to no second one', async () => {
    const client = fixture.clientOf({ authorization });
    await client.fetchManifest(fixture.reference());
    await expect(client.fetchManifest({ ...fixture.reference(), registry: fixture.other.host })).rejects.toThrow('another registry');
    expect(fixture.other.seen).toHaveLength(0);
  });

  it('that are refused say unauthorized, with no word of them', async () => {
    fixture.registry.intercept = (_request, response) => Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end());
    const refused = fixture.clientOf({ authorization }).fetchManifest(fixture.reference());
    await expect(refused).rejects.toMatchObject({ code: 'unauthorized', message: expect.not.stringContaining('secret') });
  });
});

describe('addresses', () => {
  it('of registries are refused when internal, by number and by name', async () => {
    const port = fixture.registry.host.split(':')[1];
    for (const host of [
      fixture.registry.host,
      `localhost:${port}`,
      `[::1]:${port}`,
      `[::ffff:127.0.0.1]:${port}`,
      `2130706433:${port}`,
      `0x7f.1:${port}`,
    ]) {
      const client = fixture.clientOf({ resolveRegistry: () => ({ url: `http://${host}`, allowInternal: false }), internalOrigins: [] });
      expect(await codeOf(client.fetchManifest(fixture.reference())), host).toBe('addressDenied');
    }
    expect(fixture.registry.seen).toHaveLength(0);
  });

  it('of redirects are judged anew, each hop', async () => {
    fixture.registry.intercept = (_request, response) => Boolean(response.writeHead(302, { location: `${fixture.other.url}/x` }).end());
    expect(await codeOf(fixture.clientOf({ internalOrigins: [] }).fetchManifest(fixture.reference()))).toBe('addressDenied');
    expect(fixture.other.seen).toHaveLength(0);
    fixture.registry.intercept = (_request, response) =>
      Boolean(response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end());
    expect(await codeOf(fixture.clientOf({ internalOrigins: [] }).fetchManifest(fixture.reference()))).toBe('addressDenied');
  });

  it('of token realms are judged too', async () => {
    fixture.registry.intercept = (_request, response) =>
      Boolean(response.writeHead(401, { 'www-authenticate': `Bearer realm="${fixture.other.url}/token"` }).end());
    expect(await codeOf(fixture.clientOf({ internalOrigins: [] }).fetchManifest(fixture.reference()))).toBe('addressDenied');
    expect(fixture.other.seen).toHaveLength(0);
  });

  it('reached in circles end', async () => {
    fixture.registry.intercept = (_request, response) => Boolean(response.writeHead(302, { location: '/v2/again' }).end());
    expect(await codeOf(fixture.clientOf().fetchManifest(fixture.reference()))).toBe('registryUnavailable');
    expect(fixture.registry.seen.length).toBeLessThan(50);
  });
});

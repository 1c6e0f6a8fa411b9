import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { errorCode } from '../testing/registry-client.js';
import { basic, startRegistryUnderTest } from '../testing/registry-under-test.js';

describe('the admin port', () => {
  it('counts requests, bytes, uploads and sweeps, and names no tenant', async () => {
    const registry = await startRegistryUnderTest();
    try {
      const { client } = await registry.tenant('acme');
      await client.pushImage('acme/web', 'v1', 'x'.repeat(5000));
      await client.pushBlob('acme/other', 'x'.repeat(5000));
      await client.begin('acme/web');
      await client.status('GET', '/v2/acme/web/manifests/v1');
      await registry.running.sweep();
      const response = await fetch(`${registry.running.adminUrl}/metrics`);
      const text = await response.text();
      const value = (name: string): number =>
        Number(
          text
            .split('\n')
            .find((line) => line.startsWith(`${name} `))
            ?.split(' ')
            .at(-1),
        );
      expect(value('berth_registry_http_requests_total{method="GET",endpoint="manifest",status="200"}')).toBe(1);
      expect(value('berth_registry_blobs_committed_total{content="stored"}')).toBe(2);
      expect(value('berth_registry_blobs_committed_total{content="known"}')).toBe(1);
      expect(value('berth_registry_received_bytes_total')).toBeGreaterThan(10_000);
      expect(value('berth_registry_open_uploads')).toBe(1);
      expect(value('berth_registry_contents')).toBe(3);
      expect(value('berth_registry_content_bytes')).toBeGreaterThan(5000);
      expect(value('berth_registry_sweeps_total{outcome="completed"}')).toBeGreaterThan(0);
      expect(text).not.toContain('acme');
      for (const line of text.split('\n')) if (line !== '' && !line.startsWith('#')) expect(line).toMatch(/^berth_registry_/);
    } finally {
      await registry.close();
    }
  });

  it('tells living from ready, and a registry without its database answers 503, not 401', async () => {
    const registry = await startRegistryUnderTest();
    try {
      const { client, key } = await registry.tenant('acme');
      const admin = async (path: string): Promise<number> => (await fetch(registry.running.adminUrl + path)).status;
      expect([await admin('/healthz'), await admin('/readyz')]).toEqual([200, 200]);
      await client.status('GET', '/v2/');
      await registry.loseDatabase();
      await sleep(150);
      expect([await admin('/healthz'), await admin('/readyz')]).toEqual([200, 503]);
      const refused = await registry.client(basic(key)).send('GET', '/v2/');
      expect([refused.status, await errorCode(refused)]).toEqual([503, 'UNAVAILABLE']);
      const token = registry.client(`Bearer ${registry.pullToken(['acme/web'])}`);
      expect(await token.status('GET', '/v2/')).toBe(200);
    } finally {
      await registry.close();
    }
  });
});

describe('with a certificate', () => {
  it('the registry speaks TLS', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'berth-tls-'));
    const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '1',
        ...subject,
        '-keyout',
        key,
        '-out',
        cert,
      ],
      { stdio: 'ignore' },
    );
    const tls = { cert: await readFile(cert), key: await readFile(key) };
    const registry = await startRegistryUnderTest({ tls });
    try {
      expect(registry.url).toMatch(/^https:/);
      const status = await new Promise((resolve, reject) => {
        request(`${registry.url}/v2/`, { ca: tls.cert }, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end();
      });
      expect(status).toBe(401);
    } finally {
      await registry.close();
      await rm(directory, { recursive: true });
    }
  });
});

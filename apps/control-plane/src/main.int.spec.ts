import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freshDatabase, type TestDatabase } from '@berth/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const adminKey = `berth_${'a1'.repeat(16)}`;

describe('the process', { timeout: 120_000 }, () => {
  let database: TestDatabase;
  let directory: string;
  beforeAll(async () => {
    database = await freshDatabase();
    directory = mkdtempSync(join(tmpdir(), 'berth-control-plane-main-'));
  });
  afterAll(async () => {
    rmSync(directory, { recursive: true });
    await database.drop();
  });

  const start = (env: Record<string, string> = {}) => {
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, main], {
      env: {
        PATH: process.env.PATH,
        BERTH_DATABASE_URL: database.url,
        BERTH_REGISTRY_SECRET: 'ab'.repeat(32),
        BERTH_ADMIN_KEY: adminKey,
        BERTH_PORT: '0',
        BERTH_ADMIN_PORT: '0',
        ...env,
      },
    });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (bytes) => {
      output.stdout += bytes;
    });
    child.stderr.on('data', (bytes) => {
      output.stderr += bytes;
    });
    return { child, output, exit: once(child, 'exit').then(([code]) => code as number | null) };
  };
  const listening = async ({ child, output, exit }: ReturnType<typeof start>) => {
    await Promise.race([once(child.stdout, 'data'), exit]);
    const match = /^listening on (\S+) admin (\S+)\n$/.exec(output.stdout);
    expect(match, output.stderr).not.toBeNull();
    return { url: match?.[1] ?? '', adminUrl: match?.[2] ?? '' };
  };

  it('says where it listens, keeps its data over a restart, and stops cleanly on either signal', async () => {
    const first = start();
    const { url, adminUrl } = await listening(first);
    const authorization = { authorization: `Bearer ${adminKey}` };
    const created = await fetch(`${url}/v1/admin/tenants`, {
      method: 'POST',
      headers: { ...authorization, 'content-type': 'application/json' },
      body: '{"name":"kept"}',
    });
    expect(created.status).toBe(201);
    expect((await fetch(`${adminUrl}/metrics`)).headers.get('content-type')).toContain('text/plain');
    first.child.kill('SIGTERM');
    expect(await first.exit).toBe(0);

    const second = start({ BERTH_QUEUE: 'off' });
    const again = await listening(second);
    const list = await (await fetch(`${again.url}/v1/admin/tenants`, { headers: authorization })).text();
    expect(list).toContain('"kept"');
    second.child.kill('SIGINT');
    expect(await second.exit).toBe(0);
    for (const { output } of [first, second]) {
      for (const line of output.stderr.trim().split('\n')) expect(() => JSON.parse(line)).not.toThrow();
      expect(output.stderr).not.toContain(adminKey);
    }
  });

  it.each([
    ['an open listener', { BERTH_HOST: '0.0.0.0' }, 'BERTH_TLS_CERT_FILE'],
    ['a key that is none', { BERTH_ADMIN_KEY: 'short' }, 'BERTH_ADMIN_KEY'],
    ['a secret that is too short', { BERTH_REGISTRY_SECRET: 'ab' }, 'BERTH_REGISTRY_SECRET'],
    ['a database that is not there', { BERTH_DATABASE_URL: 'postgres://x:y@127.0.0.1:1/z' }, 'ECONNREFUSED|reach'],
  ])('ends at once, saying why, for %s', async (_, env, word) => {
    const failed = start(env);
    expect(await failed.exit).toBe(1);
    expect(failed.output.stderr).toMatch(new RegExp(word));
    expect(failed.output.stdout).toBe('');
  });

  it('ends when its port is taken', async () => {
    const first = start();
    const { url } = await listening(first);
    const second = start({ BERTH_PORT: new URL(url).port });
    expect(await second.exit).toBe(1);
    expect(second.output.stderr).toContain('EADDRINUSE');
    first.child.kill('SIGTERM');
    expect(await first.exit).toBe(0);
  });

  it('serves TLS where it has a certificate, and then on any address', async () => {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-keyout',
        key,
        '-out',
        cert,
        '-days',
        '1',
        ...subject,
      ],
      { stdio: 'ignore' },
    );
    const service = start({ BERTH_HOST: '0.0.0.0', BERTH_TLS_CERT_FILE: cert, BERTH_TLS_KEY_FILE: key });
    const { url } = await listening(service);
    expect(url).toMatch(/^https:/);
    const outgoing = request(`https://127.0.0.1:${new URL(url).port}/healthz`, { ca: readFileSync(cert) }).end();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(answer.resume().statusCode).toBe(200);
    service.child.kill('SIGTERM');
    expect(await service.exit).toBe(0);
  });
});

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { type ClientRequest, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { digestOf } from '@berth/core';
import { eventually } from '@berth/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorCode, RegistryClient } from '../testing/registry-client.js';
import { basic, type RegistryUnderTest, startRegistryUnderTest, type TestTenant } from '../testing/registry-under-test.js';

const MiB = 1024 * 1024;
let registry: RegistryUnderTest;
let acme: TestTenant;

beforeAll(async () => {
  registry = await startRegistryUnderTest();
  acme = await registry.tenant('acme');
});
afterAll(() => registry.close());

/** Begins a request whose body the test writes, or breaks off, by itself. */
function openRequest(url: string, key: string, method: string, path: string, headers: Record<string, string | number> = {}): ClientRequest {
  const sent = request(new URL(path, url), { method, headers: { authorization: basic(key), ...headers } });
  sent.on('error', () => undefined);
  return sent;
}

const contents = async (directory: string): Promise<string[]> =>
  (await readdir(join(directory, 'blobs'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
const openUploads = (directory: string): Promise<string[]> => readdir(join(directory, 'uploads'));

describe('an upload that breaks off', () => {
  it('leaves nothing of a POST with everything', async () => {
    const bytes = randomBytes(2 * MiB);
    const before = (await openUploads(registry.directory)).length;
    const sent = openRequest(registry.url, acme.key, 'POST', `/v2/acme/cut/blobs/uploads/?digest=${digestOf(bytes)}`, {
      'content-length': 2 * MiB,
    });
    sent.write(bytes.subarray(0, MiB));
    await eventually(async () => expect(await openUploads(registry.directory)).toHaveLength(before + 1));
    sent.destroy();
    await eventually(async () => expect(await openUploads(registry.directory)).toHaveLength(before));
    expect(await acme.client.status('HEAD', `/v2/acme/cut/blobs/${digestOf(bytes)}`)).toBe(404);
  });

  it('keeps what came of a PATCH, so that the client can go on from there', async () => {
    const bytes = randomBytes(3 * MiB);
    const location = await acme.client.begin('acme/cut');
    const sent = openRequest(registry.url, acme.key, 'PATCH', location, { 'content-length': 3 * MiB });
    sent.write(bytes.subarray(0, 2 * MiB + 5));
    await sleep(200);
    sent.destroy();
    const offset = await eventually(async () => {
      const status = await acme.client.send('GET', location);
      const end = Number(status.headers.get('range')?.split('-')[1]);
      expect(end).toBeGreaterThan(MiB);
      return end + 1;
    });
    expect(offset).toBeLessThanOrEqual(2 * MiB + 5);
    const rest = await eventually(async () => {
      const response = await acme.client.send('PATCH', location, {
        body: bytes.subarray(offset),
        headers: { 'content-range': `${offset}-${bytes.length - 1}` },
      });
      expect(response.status).toBe(202);
      return response;
    });
    expect(rest.headers.get('range')).toBe(`0-${bytes.length - 1}`);
    expect((await acme.client.send('PUT', `${location}?digest=${digestOf(bytes)}`)).status).toBe(201);
  });

  it('admits one writer at a time', async () => {
    const location = await acme.client.begin('acme/cut');
    const slow = openRequest(registry.url, acme.key, 'PATCH', location, { 'content-length': 10 });
    slow.write('12345');
    await sleep(100);
    expect(await acme.client.status('PATCH', location)).toBe(409);
    const answered = once(slow, 'response');
    slow.end('67890');
    const [response] = (await answered) as [{ statusCode: number }];
    expect(response.statusCode).toBe(202);
    expect((await acme.client.send('PUT', `${location}?digest=${digestOf('1234567890')}`)).status).toBe(201);
  });

  it('is forgotten when nobody goes on with it, and not before', async () => {
    const brief = await startRegistryUnderTest({ uploadExpiryMs: 300 });
    try {
      const { client } = await brief.tenant('acme');
      const idle = await client.begin('acme/idle');
      expect((await brief.running.sweep()).expiredUploads).toBe(0);
      await sleep(350);
      const busy = await client.begin('acme/idle');
      expect((await brief.running.sweep()).expiredUploads).toBe(1);
      expect(await client.status('GET', idle)).toBe(404);
      expect(await client.status('GET', busy)).toBe(204);
    } finally {
      await brief.close();
    }
  });

  it('is closed when nothing moves on its connection', async () => {
    const impatient = await startRegistryUnderTest({ idleTimeoutMs: 1000 });
    try {
      const tenant = await impatient.tenant('acme');
      const digest = digestOf('stalled');
      const sent = openRequest(impatient.url, tenant.key, 'POST', `/v2/acme/x/blobs/uploads/?digest=${digest}`, { 'content-length': 100 });
      sent.write('some');
      await new Promise((resolve) => sent.once('close', resolve));
      await eventually(async () => expect(await openUploads(impatient.directory)).toHaveLength(0));
    } finally {
      await impatient.close();
    }
  });
});

describe('limits', () => {
  it('refuses a blob beyond the greatest length with 413, and uploads beyond the greatest number with 429', async () => {
    const small = await startRegistryUnderTest({ maxBlobBytes: 1000, maxUploadsPerTenant: 2 });
    try {
      const one = await small.tenant('one');
      const other = await small.tenant('other');
      const big = Buffer.alloc(1001);
      expect((await one.client.putBlob('one/x', Buffer.alloc(1000))).status).toBe(201);
      expect((await one.client.send('POST', `/v2/one/x/blobs/uploads/?digest=${digestOf(big)}`, { body: big })).status).toBe(413);
      const answers = await Promise.all(Array.from({ length: 10 }, () => one.client.status('POST', '/v2/one/x/blobs/uploads/')));
      expect(answers.filter((status) => status === 202)).toHaveLength(2);
      expect(answers.filter((status) => status === 429)).toHaveLength(8);
      expect(await other.client.status('POST', '/v2/other/x/blobs/uploads/')).toBe(202);
    } finally {
      await small.close();
    }
  });
});

describe('pushes at once', () => {
  it('of one blob, by two tenants and many connections, store it once and all succeed', async () => {
    const rival = await registry.tenant('rival');
    const bytes = randomBytes(MiB);
    const before = await contents(registry.directory);
    const pushes = Array.from({ length: 8 }, (_, turn) =>
      turn % 2 === 0 ? acme.client.putBlob('acme/same', bytes) : rival.client.putBlob('rival/same', bytes),
    );
    expect((await Promise.all(pushes)).map((response) => response.status)).toEqual(Array(8).fill(201));
    const after = await contents(registry.directory);
    expect(after.filter((name) => !before.includes(name))).toEqual([digestOf(bytes).slice(7)]);
    const read = await rival.client.send('GET', `/v2/rival/same/blobs/${digestOf(bytes)}`);
    expect(digestOf(new Uint8Array(await read.arrayBuffer()))).toBe(digestOf(bytes));
  });

  it('do not keep a reader of a large blob waiting, and memory stays flat', { timeout: 120_000 }, async () => {
    const size = 256 * MiB;
    const block = randomBytes(MiB);
    const hash = createHash('sha256');
    for (let sent = 0; sent < size; sent += MiB) hash.update(block);
    const digest = `sha256:${hash.digest('hex')}`;
    const stream = (): ReadableStream => {
      let left = size;
      return new ReadableStream({
        pull(controller): void {
          left -= MiB;
          controller.enqueue(block);
          if (left === 0) controller.close();
        },
      });
    };
    const push = async (repository: string): Promise<number> => {
      const response = await acme.client.send('POST', `/v2/${repository}/blobs/uploads/?digest=${digest}`, { body: stream() });
      return response.status;
    };
    expect(await push('acme/large')).toBe(201);
    const baseline = process.memoryUsage.rss();
    const pushing = push('acme/large2');
    const response = await acme.client.send('GET', `/v2/acme/large/blobs/${digest}`);
    const read = createHash('sha256');
    let peak = baseline;
    for await (const chunk of response.body ?? []) {
      read.update(chunk);
      peak = Math.max(peak, process.memoryUsage.rss());
    }
    expect(`sha256:${read.digest('hex')}`).toBe(digest);
    expect(await pushing).toBe(201);
    expect(peak - baseline).toBeLessThan(160 * MiB);
  });
});

describe('a full disk', () => {
  it.skipIf(process.getuid?.() !== 0)('is answered with 507, and nothing half stays', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'berth-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'berth-test', directory]);
    const tiny = await startRegistryUnderTest({ directory });
    try {
      const { client } = await tiny.tenant('acme');
      const big = randomBytes(6 * MiB);
      const location = await client.begin('acme/full');
      const patched = await client.send('PATCH', location, { body: big });
      expect([patched.status, await errorCode(patched)]).toEqual([507, 'INSUFFICIENT_STORAGE']);
      expect(await openUploads(directory)).toEqual([]);
      const posted = await client.send('POST', `/v2/acme/full/blobs/uploads/?digest=${digestOf(big)}`, { body: big });
      expect(posted.status).toBe(507);
      expect([await openUploads(directory), await contents(directory)]).toEqual([[], []]);
      expect(await client.status('HEAD', `/v2/acme/full/blobs/${digestOf(big)}`)).toBe(404);
      const fitting = randomBytes(MiB);
      expect((await client.putBlob('acme/full', fitting)).status).toBe(201);
      expect(await client.status('GET', `/v2/acme/full/blobs/${digestOf(fitting)}`)).toBe(200);
    } finally {
      await tiny.close();
      execFileSync('umount', [directory]);
      await rm(directory, { recursive: true });
    }
  });
});

describe('kill -9', () => {
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  });

  /** The registry as a process of its own, on the directory and database of `registry`. */
  async function startProcess(directory: string): Promise<{ child: ChildProcess; url: string }> {
    const main = fileURLToPath(new URL('../main.js', import.meta.url));
    const child = spawn(process.execPath, [main], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        ...process.env,
        BERTH_DATABASE_URL: registry.databaseUrl,
        BERTH_REGISTRY_SECRET: registry.tokenSecret.toString('hex'),
        BERTH_REGISTRY_DIR: directory,
        BERTH_REGISTRY_PORT: '0',
        BERTH_REGISTRY_ADMIN_PORT: '0',
      },
    });
    children.push(child);
    let output = '';
    child.stdout?.on('data', (text: Buffer) => {
      output += text.toString();
    });
    const url = await eventually(() => /^listening on (\S+)/.exec(output)?.[1] ?? Promise.reject(new Error('not listening yet')), {
      timeoutMs: 20_000,
    });
    return { child, url };
  }

  it('in the middle of a push leaves no blob to see, an upload to go on with, and what was acknowledged', { timeout: 60_000 }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'berth-kill-'));
    try {
      const first = await startProcess(directory);
      const client = new RegistryClient(first.url, basic(acme.key));
      const acknowledged = await client.pushImage('acme/kill', 'v1', 'acknowledged');
      const bytes = randomBytes(8 * MiB);
      const location = await client.begin('acme/kill');
      const sent = openRequest(first.url, acme.key, 'PUT', `${location}?digest=${digestOf(bytes)}`, { 'content-length': bytes.length });
      sent.write(bytes.subarray(0, 5 * MiB));
      await sleep(300);
      const gone = once(first.child, 'exit');
      first.child.kill('SIGKILL');
      await gone;

      const second = await startProcess(directory);
      const again = new RegistryClient(second.url, basic(acme.key));
      expect(await again.status('HEAD', `/v2/acme/kill/blobs/${digestOf(bytes)}`)).toBe(404);
      const kept = await again.send('GET', '/v2/acme/kill/manifests/v1');
      expect(digestOf(Buffer.from(await kept.arrayBuffer()))).toBe(acknowledged.digest);
      const status = await again.send('GET', location);
      expect(status.status).toBe(204);
      const offset = Number(status.headers.get('range')?.split('-')[1]) + 1;
      expect(offset).toBeGreaterThan(1);
      expect((await again.send('PUT', `${location}?digest=${digestOf(bytes)}`, { body: bytes.subarray(offset) })).status).toBe(201);
      const whole = await again.send('GET', `/v2/acme/kill/blobs/${digestOf(bytes)}`);
      expect(digestOf(new Uint8Array(await whole.arrayBuffer()))).toBe(digestOf(bytes));
      second.child.kill('SIGTERM');
      const [code] = (await once(second.child, 'exit')) as [number | null];
      expect(code).toBe(0);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('at eight moments of eight pushes never shows a blob that is not whole', { timeout: 120_000 }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'berth-kill-'));
    try {
      const pushed: Buffer[] = [];
      for (let round = 0; round < 8; round += 1) {
        const { child, url } = await startProcess(directory);
        const client = new RegistryClient(url, basic(acme.key));
        for (const bytes of pushed.slice(-3)) {
          const response = await client.send('GET', `/v2/acme/kill/blobs/${digestOf(bytes)}`);
          const body = Buffer.from(await response.arrayBuffer());
          if (response.status === 200) expect(digestOf(body)).toBe(digestOf(bytes));
          else expect(response.status).toBe(404);
        }
        const bytes = randomBytes(3 * MiB);
        pushed.push(bytes);
        const push = client.putBlob('acme/kill', bytes).catch(() => null);
        await sleep(round * 8);
        const gone = once(child, 'exit');
        child.kill('SIGKILL');
        await gone;
        await push;
      }
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

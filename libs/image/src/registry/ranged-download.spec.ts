import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { codeOf, quickLimits, useRegistries } from '../testing/registry-fixture.js';

const fixture = useRegistries();
const limits = { ...quickLimits, rangeBytes: 32 * 1024, rangesAtOnce: 3 };
const client = () => fixture.clientOf({ limits });
const rangesAsked = () => fixture.registry.seen.filter(({ path }) => path.includes(fixture.layer.digest));

describe('a large blob', () => {
  it('comes in parts, several at a time, never more, and its bytes in order', async () => {
    const held: (() => void)[] = [];
    let most = 0;
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request) || request.headers.range === `bytes=0-${limits.rangeBytes - 1}`) return false;
      const [, from = 0, to = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).map(Number);
      held.push(() => {
        const body = fixture.image.layers[0]?.blob.subarray(from, to + 1) ?? Buffer.alloc(0);
        response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${fixture.layer.size}`, 'content-length': body.length }).end(body);
      });
      most = Math.max(most, held.length);
      // Held back until nothing more is asked for, then answered, the last first.
      setTimeout(() => held.pop()?.(), 60);
      return true;
    };
    expect((await fixture.readLayer(client())).equals(fixture.image.layers[0]?.blob ?? Buffer.alloc(0))).toBe(true);
    expect(most).toBe(limits.rangesAtOnce);
    expect(rangesAsked()).toHaveLength(Math.ceil(fixture.layer.size / limits.rangeBytes));
  });

  it('is taken up where it stopped, part by part', async () => {
    let cuts = 0;
    fixture.registry.intercept = (request, response) => {
      const [, from = 0, to = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).map(Number);
      if (!fixture.isLayer(request) || to - from < 20_000) return false;
      cuts++;
      response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${fixture.layer.size}`, 'content-length': to - from + 1 });
      response.write(fixture.image.layers[0]?.blob.subarray(from, from + 15_000), () => response.destroy());
      return true;
    };
    expect((await fixture.readLayer(client())).equals(fixture.image.layers[0]?.blob ?? Buffer.alloc(0))).toBe(true);
    expect(cuts).toBeGreaterThan(5);
  });

  it('comes by one answer from a registry that knows no ranges', async () => {
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request)) return false;
      response.writeHead(200, { 'content-length': fixture.layer.size }).end(fixture.image.layers[0]?.blob);
      return true;
    };
    expect((await fixture.readLayer(client())).length).toBe(fixture.layer.size);
    expect(rangesAsked()).toHaveLength(1);
  });

  it('is refused when any part is another’s, too short or too long', async () => {
    for (const spoil of [
      (body: Buffer) => Buffer.from(body).fill(0, 5, 6),
      (body: Buffer) => body.subarray(1),
      (body: Buffer) => Buffer.concat([body, body]),
    ]) {
      fixture.registry.intercept = (request, response) => {
        const [, from = 0, to = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).map(Number);
        if (!fixture.isLayer(request) || from !== 2 * limits.rangeBytes) return false;
        const body = spoil(fixture.image.layers[0]?.blob.subarray(from, to + 1) ?? Buffer.alloc(0));
        response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${fixture.layer.size}` }).end(body);
        return true;
      };
      expect(await codeOf(fixture.readLayer(client()))).toBe('digestMismatch');
    }
  });

  it('is let go of at once by a consumer who leaves', async () => {
    const open = new Set<ServerResponse>();
    fixture.registry.intercept = (request, response) => {
      if (!fixture.isLayer(request) || request.headers.range?.startsWith('bytes=0-')) return false;
      open.add(response);
      response.once('close', () => open.delete(response));
      return true;
    };
    for await (const _chunk of client().openBlob(fixture.reference(), fixture.layer)) {
      await expect.poll(() => open.size).toBe(2);
      break;
    }
    await expect.poll(() => open.size).toBe(0);
  });
});

describe('a registry that wants to be left alone', () => {
  it('is, by all who would ask it', async () => {
    let refused = 0;
    const asked: number[] = [];
    fixture.registry.intercept = (request, response) => {
      asked.push(performance.now());
      if (refused > 0 || !fixture.isLayer(request)) return false;
      refused++;
      response.writeHead(429, { 'retry-after': '1' }).end();
      return true;
    };
    const first = fixture.readLayer(fixture.clientOf());
    await expect.poll(() => refused).toBe(1);
    const told = asked[0] ?? 0;
    await fixture.readLayer(fixture.clientOf());
    await first;
    for (const later of asked.slice(1)) expect(later - told).toBeGreaterThan(990);
  });
});

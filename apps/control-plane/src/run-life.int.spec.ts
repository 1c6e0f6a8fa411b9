import { eventually } from '@berth/testing';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { criRecord } from './testing/agent-peer.js';
import { backends, patience, ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';

describe.each(backends)('a run, with the queue on %s', (backend) => {
  let service: ServiceUnderTest;
  let tenant: TestTenant;

  beforeAll(async () => {
    service = await ServiceUnderTest.start(backend);
    tenant = await service.tenant();
    await service.agent();
  });
  afterAll(() => service.close());

  const submit = async (body: Record<string, unknown>) => {
    const answer = await tenant.api.post('/v1/runs', { image: tenant.image, ...body });
    expect(answer.status, answer.text).toBe(201);
    return answer.json;
  };
  const wait = async (id: string) => (await tenant.api.get(`/v1/runs/${id}/wait?timeoutMs=20000`)).json;

  it('goes from submission to its exit code, with its digest, usage and history', async () => {
    const run = await submit({ args: ['0', 'hello'], labels: { team: 'a' } });
    expect(run).toMatchObject({ tenant: tenant.name, state: 'queued', image: tenant.image, digest: tenant.digest });
    expect(run.spec.resources).toMatchObject({ cpuMillis: 500, memoryBytes: 256 * 1024 ** 2, pids: 512, shmBytes: 64 * 1024 ** 2 });
    expect(run.spec.resources.logBytes).toBe(256 * 1024 ** 2);

    const ended = await wait(run.id);
    expect(ended).toMatchObject({ state: 'succeeded', exitCode: 0, failure: null });
    expect(ended.attempts).toHaveLength(1);
    expect(ended.attempts[0]).toMatchObject({ number: 1, usage: { peakMemoryBytes: 1024 * 1024, cpuTimeMs: 1.5 } });

    const events = await tenant.api.events(`/v1/runs/${run.id}/events`);
    expect(events.map(({ event }) => event)).toEqual(['created', 'admitted', 'placed', 'preparing', 'running', 'succeeded']);
    expect((await tenant.api.get('/v1/runs?label=team%3Da')).json.items).toHaveLength(1);
  });

  it('tells a failure and whose it is', async () => {
    const { id } = await submit({ args: ['37'] });
    expect(await wait(id)).toMatchObject({ state: 'failed', exitCode: 37, failure: { code: 'nonZeroExit', blame: 'user' } });
  });

  it('is tried again while attempts remain', async () => {
    const { id } = await submit({ args: ['9'], maxAttempts: 3, stopGraceMs: 100 });
    const ended = await wait(id);
    expect(ended.state).toBe('failed');
    expect(ended.attempts.map(({ number, exitCode }: { number: number; exitCode: number }) => [number, exitCode])).toEqual([
      [1, 9],
      [2, 9],
      [3, 9],
    ]);
  });

  it('is canceled while it runs, and only then asked to stop', async () => {
    const { id } = await submit({ args: ['hold'], stopGraceMs: 1234 });
    await eventually(async () => expect((await tenant.api.get(`/v1/runs/${id}`)).json.state).toBe('running'), patience);
    expect((await tenant.api.post(`/v1/runs/${id}/cancel`)).json.cancelRequested).toBe(true);
    expect(await wait(id)).toMatchObject({ state: 'canceled' });
    const [peer] = service.peers;
    expect(peer?.stops.filter(({ lease }) => lease.runId === id)[0]).toMatchObject({ reason: 'canceled', graceMs: 1234 });
  });

  it('may be deleted only when it has ended, and is unknown afterwards', async () => {
    const { id } = await submit({ args: ['hold'] });
    const early = await tenant.api.send('DELETE', `/v1/runs/${id}`);
    expect([early.status, early.json.code]).toEqual([409, 'runNotTerminal']);
    await tenant.api.post(`/v1/runs/${id}/cancel`);
    await wait(id);
    expect((await tenant.api.send('DELETE', `/v1/runs/${id}`)).status).toBe(204);
    expect((await tenant.api.get(`/v1/runs/${id}`)).status).toBe(404);
  });

  it('is forgotten by the sweeper when its tenant keeps no run that long', async () => {
    const [{ id }, { id: recent }] = [await submit({ args: ['0'] }), await submit({ args: ['0'] })];
    for (const each of [id, recent]) expect(await wait(each)).toMatchObject({ state: 'succeeded' });
    const patched = await service.admin.send('PATCH', `/v1/admin/tenants/${tenant.id}`, { retainRunsMs: 600_000 });
    expect(patched.json).toMatchObject({ retainRunsMs: 600_000 });
    const database = new pg.Client({ connectionString: service.databaseUrl });
    await database.connect();
    await database.query("UPDATE runs SET finished_at = finished_at - interval '11 minutes' WHERE id = $1", [id]);
    await database.end();
    await eventually(async () => expect((await tenant.api.get(`/v1/runs/${id}`)).status).toBe(404), patience);
    expect((await tenant.api.get(`/v1/runs/${recent}`)).status).toBe(200);
  });

  it('shows its log, followed while it is written or read afterwards', async () => {
    const [peer] = service.peers;
    if (peer === undefined) throw new Error('no peer');
    const { id } = await submit({ args: ['hold'] });
    await eventually(() => expect(peer.runIds).toContain(id), patience);
    const following = tenant.api.get(`/v1/runs/${id}/logs?follow=true`);
    const lease = [...peer.holds.values()].find(({ runId }) => runId === id);
    if (lease === undefined) throw new Error('no lease');

    const first = Buffer.concat([criRecord('stdout', 'one'), criRecord('stderr', 'warn')]);
    const second = Buffer.concat([criRecord('stdout', 'two h', 'P'), criRecord('stdout', 'alves')]);
    expect((await peer.ship(lease, 0, first)).nextOffset).toBe(first.length);
    // A chunk that is sent again, or overlaps, is stored once.
    await peer.ship(lease, 0, first);
    expect((await peer.ship(lease, first.length, second)).nextOffset).toBe(first.length + second.length);
    peer.exit(lease, { exitCode: 0, logBytes: first.length + second.length });

    expect((await following).text).toBe('one\nwarn\ntwo halves\n');
    expect((await tenant.api.get(`/v1/runs/${id}/logs?stream=stderr`)).text).toBe('warn\n');
    const records = (await tenant.api.get(`/v1/runs/${id}/logs?format=ndjson`)).text.trim().split('\n');
    expect(records.map((line) => JSON.parse(line)).map(({ stream, partial, text }) => [stream, partial, text])).toEqual([
      ['stdout', false, 'one'],
      ['stderr', false, 'warn'],
      ['stdout', true, 'two h'],
      ['stdout', false, 'alves'],
    ]);
    expect((await tenant.api.get(`/v1/runs/${id}/logs?attempt=2`)).json.code).toBe('notFound');
  });

  it('shows a log whole although the end was reported before the rest of it came', async () => {
    const [peer] = service.peers;
    if (peer === undefined) throw new Error('no peer');
    const { id } = await submit({ args: ['hold'] });
    await eventually(() => expect(peer.runIds).toContain(id), patience);
    const lease = [...peer.holds.values()].find(({ runId }) => runId === id);
    if (lease === undefined) throw new Error('no lease');
    const log = criRecord('stdout', 'last words');
    peer.exit(lease, { exitCode: 0, logBytes: log.length });
    await wait(id);
    const reading = tenant.api.get(`/v1/runs/${id}/logs`);
    await peer.ship(lease, 0, log);
    expect((await reading).text).toBe('last words\n');
  });

  it('bounds a wait by the time that was asked for', async () => {
    const { id } = await submit({ args: ['hold'] });
    const before = performance.now();
    const answer = await tenant.api.get(`/v1/runs/${id}/wait?timeoutMs=300`);
    const tookMs = performance.now() - before;
    expect(answer.status).toBe(200);
    expect(answer.json.finishedAt).toBeNull();
    expect(tookMs).toBeGreaterThan(290);
    expect(tookMs).toBeLessThan(2000);
    await tenant.api.post(`/v1/runs/${id}/cancel`);
    await wait(id);
  });

  it('resumes its events after the last one that was seen, and ends them', async () => {
    const { id } = await submit({ args: ['0'] });
    await wait(id);
    const all = await tenant.api.events(`/v1/runs/${id}/events`);
    const third = all[2];
    const rest = await tenant.api.events(`/v1/runs/${id}/events`, third?.id);
    expect(rest).toEqual(all.slice(3));
    const over = await tenant.api.open('GET', `/v1/runs/${id}/events`, undefined, { 'last-event-id': all.at(-1)?.id ?? '' });
    expect(over.status).toBe(204);
    expect((await tenant.api.get(`/v1/runs/${id}/events`, { 'last-event-id': 'x' })).json.code).toBe('invalidRequest');
  });

  it("shows a tenant the events of all its runs, and of nobody else's", async () => {
    const other = await service.tenant();
    const foreign = (await other.api.post('/v1/runs', { image: other.image, args: ['0'] })).json.id;
    let mine = '';
    const following = tenant.api.events('/v1/events', undefined, ({ data, event }) => data.runId === mine && event === 'succeeded');
    const run = await submit({ args: ['0'] });
    mine = run.id;
    const events = await following;
    expect(events.filter(({ data }) => data.runId === run.id).map(({ event }) => event)).toContain('placed');
    expect(events.some(({ data }) => data.runId === foreign)).toBe(false);
    const ids = events.map(({ id }) => BigInt(id));
    expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
  });

  it('is counted in the metrics', async () => {
    const text = await (await fetch(`${service.firstReplica.adminUrl}/metrics`)).text();
    const value = (series: string) => Number(new RegExp(`^${series.replace(/[{}"]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1]);
    expect(value('berth_submissions_total{outcome="admitted"}')).toBeGreaterThan(5);
    expect(value('berth_runs{state="succeeded"}')).toBeGreaterThan(1);
    expect(value('berth_nodes{state="ready"}')).toBe(1);
    expect(value('berth_agent_links')).toBe(1);
    expect(value('berth_submit_to_exit_seconds_count')).toBeGreaterThan(5);
    expect(value('berth_submit_to_dispatch_seconds_count')).toBeGreaterThan(5);
    expect(value('berth_run_cpu_seconds_count')).toBeGreaterThan(5);
    expect(value('berth_log_bytes_total')).toBeGreaterThan(50);
    expect(text).not.toContain(tenant.name);
  });
});

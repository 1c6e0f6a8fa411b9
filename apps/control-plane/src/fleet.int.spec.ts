import { once } from 'node:events';
import { verifyPullToken } from '@berth/core';
import { eventually } from '@berth/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { criRecord } from './testing/agent-peer.js';
import { patience, ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';

const GiB = 1024 ** 3;

describe('the fleet', () => {
  let service: ServiceUnderTest;
  let tenant: TestTenant;

  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres', {
      BERTH_HEARTBEAT_MS: '200',
      BERTH_STOP_AFTER_MS: '3000',
      BERTH_LOST_AFTER_MS: '4000',
    });
    tenant = await service.tenant({ concurrentRuns: 1000, cpuMillis: 1_000_000, memoryBytes: 1000 * GiB });
  });
  // Each test has a fleet of its own.
  afterEach(async () => {
    for (const peer of service.peers.splice(0)) {
      peer.vanish();
      await service.admin.post(`/v1/admin/nodes/${peer.nodeId}/declare-dead`);
    }
  });
  afterAll(() => service.close());

  const submit = async (body: Record<string, unknown> = {}): Promise<string> => {
    const answer = await tenant.api.post('/v1/runs', { image: tenant.image, args: ['hold'], ...body });
    expect(answer.status, answer.text).toBe(201);
    return answer.json.id;
  };
  const get = async (id: string) => (await tenant.api.get(`/v1/runs/${id}`)).json;
  const node = async (id: string) => (await service.admin.get(`/v1/admin/nodes/${id}`)).json;

  it('of three unequal nodes, one full and one dead, takes runs where there is room', async () => {
    const full = await service.agent({ cpuMillis: 1000, memoryBytes: GiB });
    const filler = await submit({ resources: { cpuMillis: 1000, memoryBytes: GiB } });
    await eventually(() => expect(full.runIds).toEqual([filler]), patience);
    const large = await service.agent({ cpuMillis: 4000, memoryBytes: 4 * GiB });
    const dead = await service.agent({ cpuMillis: 64_000, memoryBytes: 64 * GiB });
    dead.vanish();
    await service.admin.post(`/v1/admin/nodes/${dead.nodeId}/declare-dead`);

    const ids = await Promise.all(Array.from({ length: 5 }, () => submit({ resources: { cpuMillis: 1000, memoryBytes: GiB } })));
    await eventually(() => expect(large.runIds).toHaveLength(4), patience);
    expect([full.runIds, dead.runIds]).toEqual([[filler], []]);
    const waiting = await eventually(async () => {
      const [left, ...others] = (await Promise.all(ids.map(get))).filter(({ state }) => state === 'queued');
      expect(others).toEqual([]);
      expect(left).toMatchObject({ waitingFor: 'capacity', waitingReason: expect.stringContaining('no node has enough free') });
      return left;
    }, patience);
    expect(await node(large.nodeId)).toMatchObject({ reserved: { cpuMillis: 4000, memoryBytes: 4 * GiB, runs: 4 } });

    // Room that comes free is given to the one that waits.
    await tenant.api.post(`/v1/runs/${large.runIds[0]}/cancel`);
    await eventually(() => expect(large.runIds).toContain(waiting.id), patience);
  });

  it('takes runs, where nodes are otherwise alike, to the one that has told of the layers', async () => {
    const { layers } = await service.manifest(tenant);
    const peers = [await service.agent(), await service.agent(), await service.agent()];
    // Without a reason to choose another it would be the first by id.
    const [, holder] = [...peers].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
    if (holder === undefined) throw new Error('there are three');
    holder.layers = layers.map(({ digest }) => digest);
    await eventually(async () => expect([...(await service.store.layers.held()).keys()]).toEqual([holder.nodeId]), patience);
    // A look at it stays good for two seconds.
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    const id = await submit();
    await eventually(() => expect(peers.filter(({ runIds }) => runIds.includes(id))).toEqual([holder]), patience);
  });

  it('gives a node a token for the one image, and nothing of it to anybody else', async () => {
    const peer = await service.agent();
    const id = await submit({ env: { TOKEN: 'secret' } });
    await eventually(() => expect(peer.runIds).toContain(id), patience);
    const assignment = peer.assignments.find(({ runId }) => runId === id);
    expect(assignment).toMatchObject({
      tenant: tenant.name,
      image: { reference: `registry.berth/${tenant.name}/app`, digest: tenant.digest },
      spec: { env: { TOKEN: 'secret' } },
    });
    const { secret } = service.firstReplica.config.registry;
    const token = assignment?.pullAuthorization?.replace('Bearer ', '') ?? '';
    const payload = verifyPullToken(token, secret, Date.now());
    expect(payload).toMatchObject({ repositories: [`${tenant.name}/app`], actions: ['pull'] });
    expect((payload?.exp ?? 0) * 1000 - Date.now()).toBeLessThan(16 * 60_000);
    const manifest = (repository: string) =>
      fetch(`${service.registryUrl}/v2/${repository}/manifests/${tenant.digest}`, { headers: { authorization: `Bearer ${token}` } });
    expect((await manifest(`${tenant.name}/app`)).status).toBe(200);
    expect((await manifest('tenant-2/app')).status).toBeGreaterThanOrEqual(401);
    expect((await tenant.api.get(`/v1/runs/${id}`)).text).not.toContain('bpull_');
  });

  it('changes nothing by reports and logs of a node that does not have the run, or no longer', async () => {
    const [owner, thief] = [await service.agent(), await service.agent({ cpuMillis: 100, memoryBytes: GiB / 4 })];
    const id = await submit();
    await eventually(async () => expect((await get(id)).state).toBe('running'), patience);
    const lease = { runId: id, attempt: 1, epoch: 1 };
    for (const [peer, claimed] of [
      [thief, lease],
      [owner, { ...lease, epoch: 2 }],
      [owner, { ...lease, attempt: 2 }],
      [owner, { ...lease, runId: 'run_01m84hrxq4g7c9h2rt5b16rk65' }],
    ] as const) {
      const reportId = peer.exit(claimed, { exitCode: 0 });
      await eventually(() => expect(peer.acks).toContainEqual({ id: reportId, outcome: 'stale' }), patience);
      expect((await peer.ship(claimed, 0, criRecord('stdout', 'forged'))).stale).toBe(true);
    }
    expect((await get(id)).state).toBe('running');
    expect((await tenant.api.get(`/v1/runs/${id}/logs`)).text).toBe('');
  });

  it('applies a report that comes twice once', async () => {
    const peer = await service.agent();
    const id = await submit();
    await eventually(async () => expect((await get(id)).state).toBe('running'), patience);
    const lease = { runId: id, attempt: 1, epoch: 1 };
    const exit = peer.exit(lease, { exitCode: 3 });
    await eventually(() => expect(peer.acks.some((ack) => ack.id === exit)).toBe(true), patience);
    const ended = await get(id);
    const used = (await tenant.api.get('/v1/tenant')).json.used;
    const again = peer.exit(lease, { exitCode: 0 });
    await eventually(() => expect(peer.acks.some((ack) => ack.id === again)).toBe(true), patience);
    expect(await get(id)).toEqual(ended);
    expect((await tenant.api.get('/v1/tenant')).json.used).toEqual(used);
    for (const { used: counted, sum } of await service.store.tenants.recount()) expect(counted).toEqual(sum);
  });

  it('tells a node that comes back what it missed, and to stop what is no longer its own', async () => {
    const peer = await service.agent();
    const [kept, canceled] = [await submit(), await submit()];
    await eventually(() => expect(peer.runIds).toHaveLength(2), patience);
    peer.vanish();
    await tenant.api.post(`/v1/runs/${canceled}/cancel`);
    const missed = await submit();
    const stray = { runId: 'run_01m84hrxq4g7c9h2rt5b16rk65', attempt: 1, epoch: 7 };
    peer.holds.set('stray', stray);
    const before = peer.assignments.length;
    await peer.connect(service.url);

    await eventually(() => expect(peer.runIds).toContain(missed), patience);
    await eventually(() => expect(peer.stops).toContainEqual({ type: 'stop', lease: stray, reason: 'superseded', graceMs: 0 }), patience);
    await eventually(
      () => expect(peer.stops.some((stop) => stop.lease.runId === canceled && stop.reason === 'canceled')).toBe(true),
      patience,
    );
    // The same lease again, for a node that may have lost its memory with its connection.
    expect(peer.assignments.slice(before).find(({ runId }) => runId === kept)).toMatchObject({ epoch: 1, attempt: 1 });
    expect((await tenant.api.get(`/v1/runs/${canceled}/wait?timeoutMs=20000`)).json.state).toBe('canceled');
  });

  it('moves what may be retried from a node that is silent for T_lost, and only that', async () => {
    const first = await service.agent();
    const retried = await submit({ maxAttempts: 2, stopGraceMs: 100 });
    const waits = await submit({ maxAttempts: 2, onNodeLost: 'wait' });
    await eventually(() => expect(first.runIds).toHaveLength(2), patience);
    const lostAt = Date.now();
    first.vanish();
    const second = await service.agent();
    await eventually(() => expect(second.runIds).toEqual([retried]), patience);
    expect(Date.now() - lostAt).toBeGreaterThan(4000 - 400);
    expect(second.assignments[0]).toMatchObject({ attempt: 2, epoch: 2 });
    expect(await get(waits)).toMatchObject({ state: 'running', attempts: [{ nodeId: first.nodeId }] });
    expect((await node(first.nodeId)).state).toBe('lost');

    // The lost node comes back with what it had: the retried attempt is stale, the other goes on.
    await first.connect(service.url);
    await eventually(() => expect(first.stops[0]).toMatchObject({ lease: { runId: retried, epoch: 1 }, reason: 'superseded' }), patience);
    const stale = first.exit({ runId: retried, attempt: 1, epoch: 1 }, { exitCode: 0 });
    await eventually(() => expect(first.acks).toContainEqual({ id: stale, outcome: 'stale' }), patience);
    expect((await get(retried)).state).toBe('running');
    first.exit({ runId: waits, attempt: 1, epoch: 1 }, { exitCode: 0 });
    expect((await tenant.api.get(`/v1/runs/${waits}/wait?timeoutMs=20000`)).json.state).toBe('succeeded');
  });

  it('ends what waits on a node that the operator declares dead, and drains one without ending anything', async () => {
    const [first, second] = [await service.agent(), await service.agent()];
    const id = await submit();
    await eventually(() => expect([...first.runIds, ...second.runIds]).toEqual([id]), patience);
    const [holder, other] = first.runIds.length > 0 ? [first, second] : [second, first];
    expect((await service.admin.post(`/v1/admin/nodes/${holder.nodeId}/drain`)).json.state).toBe('draining');
    const next = await submit();
    await eventually(() => expect(other.runIds).toEqual([next]), patience);
    expect((await get(id)).state).toBe('running');

    await service.admin.post(`/v1/admin/nodes/${holder.nodeId}/declare-dead`);
    expect(await get(id)).toMatchObject({ state: 'failed', failure: { code: 'nodeLost', blame: 'platform' } });
    await eventually(() => expect(holder.stops[0]).toMatchObject({ lease: { runId: id }, reason: 'superseded' }), patience);
    expect((await service.admin.post(`/v1/admin/nodes/${other.nodeId}/drain`)).json.state).toBe('draining');
    expect((await service.admin.post(`/v1/admin/nodes/${other.nodeId}/undrain`)).json.state).toBe('ready');
  });

  it('refuses tokens and credentials that are spent, expired or of another kind', async () => {
    const { json } = await service.admin.post('/v1/admin/join-tokens', { uses: 1 });
    const join = async (token: string) => (await fetch(`${service.url}/v1/nodes/join`, joinRequest(token))).status;
    expect(await join(json.token)).toBe(200);
    for (const token of [json.token, `bjoin_${'x'.repeat(32)}`, tenant.key, 'x']) expect(await join(token)).toBe(401);
    expect(await join('x'.repeat(300))).toBe(400);

    for (const [credential, path, status] of [
      [tenant.key, '/v1/nodes/link?channel=control', 401],
      [service.adminKey, '/v1/nodes/link?channel=control', 401],
      [`bnode_${'x'.repeat(32)}`, '/v1/nodes/link?channel=control', 401],
      [(await service.joinAgent()).credential, '/v1/nodes/link?channel=other', 400],
      [(await service.joinAgent()).credential, '/v1/nodes/links', 404],
    ] as const) {
      expect([path, await handshakeStatus(service.url, path, credential)]).toEqual([path, status]);
    }
    const asTenant = await fetch(`${service.url}/v1/tenant`, {
      headers: { authorization: `Bearer ${(await service.joinAgent()).credential}` },
    });
    expect(asTenant.status).toBe(401);
  });

  it('shows what a node last told of its disk', async () => {
    const peer = await service.agent();
    expect((await node(peer.nodeId)).disk).toBeNull();
    const layers = { images: 3, layers: 5, totalBytes: 250, sharedBytes: 220, uniqueBytes: 30, unusedBytes: 0, sumOfImagesBytes: 690 };
    for (const availableBytes of [600, 500]) {
      peer.disk = { capacityBytes: 1000, availableBytes, ...layers };
      await eventually(async () => expect((await node(peer.nodeId)).disk).toEqual(peer.disk), patience);
    }
  });

  it('closes a link whose messages do not parse, or that does not greet first', async () => {
    for (const frame of ['{', '{"type":"nonsense"}', '{"type":"heartbeat","sequence":"1","holds":[]}', Buffer.from([1, 2])]) {
      const peer = await service.agent();
      peer.control?.send(frame);
      await eventually(() => expect(peer.closes).toMatchObject([{ code: 1008 }]), patience);
    }
    const impolite = await service.joinAgent();
    const socket = new WebSocket(`${service.url.replace('http', 'ws')}/v1/nodes/link?channel=control`, {
      headers: { authorization: `Bearer ${impolite.credential}` },
    });
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'heartbeat', sequence: 1, holds: [] }));
    expect((await once(socket, 'close'))[0]).toBe(1008);
  });

  it('keeps one link for each node, the newest', async () => {
    const peer = await service.agent();
    const older = peer.control;
    await peer.connect(service.url);
    await eventually(() => expect(peer.closes).toMatchObject([{ code: 4000 }]), patience);
    expect([older?.readyState, peer.control?.readyState]).toEqual([WebSocket.CLOSED, WebSocket.OPEN]);
    const id = await submit();
    await eventually(() => expect(peer.runIds).toContain(id), patience);
  });
});

function joinRequest(token: string): RequestInit {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token, name: 'n' }) };
}

async function handshakeStatus(url: string, path: string, credential: string): Promise<number | undefined> {
  const socket = new WebSocket(url.replace('http', 'ws') + path, { headers: { authorization: `Bearer ${credential}` } });
  socket.on('error', () => {});
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode?: number; resume(): void }];
  response.resume();
  return response.statusCode;
}

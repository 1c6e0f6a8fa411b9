import { verifyPullToken } from '@berth/core';
import { eventually } from '@berth/testing';
import type { NodeAnswer, NodeQuestion } from '@berth/wire';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AgentPeer } from './testing/agent-peer.js';
import { patience, ServiceUnderTest, type TestTenant } from './testing/service-under-test.js';
import { TestClient } from './testing/test-client.js';

describe("what is asked of a run's files", () => {
  let service: ServiceUnderTest;
  let tenant: TestTenant;
  let peer: AgentPeer;
  let asked: { runId: string; question: NodeQuestion }[] = [];
  const told: NodeAnswer = { kind: 'changes', changes: [{ kind: 'A', path: '/new' }], truncated: false };
  let answers: (NodeAnswer | null)[] = [];

  beforeAll(async () => {
    service = await ServiceUnderTest.start('postgres');
    tenant = await service.tenant();
    const second = await service.addReplica();
    peer = await service.joinAgent();
    peer.answer = ({ lease, question }) => {
      asked.push({ runId: lease.runId, question });
      return answers.length > 1 ? (answers.shift() ?? null) : (answers[0] ?? null);
    };
    // On the other replica than the one that is asked.
    await peer.connect(second.url);
  });
  beforeEach(() => {
    asked = [];
    answers = [told];
  });
  afterAll(() => service.close());

  const start = async (): Promise<string> => {
    const { json } = await tenant.api.post('/v1/runs', { image: tenant.image, args: ['hold'] });
    await eventually(async () => expect((await tenant.api.get(`/v1/runs/${json.id}`)).json.state).toBe('running'), patience);
    return json.id;
  };
  const stop = (id: string) => tenant.api.post(`/v1/runs/${id}/cancel`);

  it('is answered by the node that runs it, on whichever replica either is', async () => {
    const id = await start();
    for (const { url } of service.replicas) {
      const answer = await new TestClient(url, tenant.key).get(`/v1/runs/${id}/diff`);
      expect(answer.json, answer.text).toEqual({ changes: told.changes, truncated: false });
    }
    expect(asked.map(({ runId }) => runId)).toEqual([id, id]);
    await stop(id);
  });

  it('is asked again where an answer was lost', async () => {
    const id = await start();
    answers = [null, told];
    expect((await tenant.api.get(`/v1/runs/${id}/diff`)).json).toMatchObject({ changes: told.changes });
    expect(asked).toHaveLength(2);
    await stop(id);
  });

  it('is refused with what the node says, and leaves no question behind', async () => {
    const id = await start();
    answers = [{ kind: 'refused', message: 'it cannot be read' }];
    expect(await tenant.api.get(`/v1/runs/${id}/diff`)).toMatchObject({
      status: 409,
      json: { code: 'conflict', detail: 'it cannot be read' },
    });
    await stop(id);
    const ended = await tenant.api.get(`/v1/runs/${id}/wait?timeoutMs=10000`);
    expect(ended.json.state).toBe('canceled');
    expect(await tenant.api.get(`/v1/runs/${id}/diff`)).toMatchObject({
      status: 409,
      json: { detail: expect.stringContaining('canceled') },
    });
    expect(asked).toHaveLength(1);
  });

  it('names an image of the tenant, and carries tokens that are kept nowhere', async () => {
    const id = await start();
    const digest = `sha256:${'a'.repeat(64)}`;
    let kept: unknown;
    const database = new pg.Client({ connectionString: service.databaseUrl });
    await database.connect();
    answers = [null, { kind: 'commit', digest, layerDigest: digest, layerBytes: 1 }];
    const committing = tenant.api.post(`/v1/runs/${id}/commit`, { name: 'made/here', tag: 'v2' });
    await eventually(async () => {
      expect(asked).toHaveLength(1);
      kept = (await database.query('SELECT question FROM node_questions')).rows;
    }, patience);
    expect(kept).toMatchObject([{ question: { kind: 'commit', pullAuthorization: null, pushAuthorization: null } }]);
    await database.end();
    const { status, json } = await committing;
    expect(status).toBe(201);
    expect(json).toEqual({ image: `registry.berth/${tenant.name}/made/here:v2`, digest, layerDigest: digest, layerBytes: 1 });
    const question = asked[0]?.question;
    if (question?.kind !== 'commit') throw new Error('it was not asked for a commit');
    const secret = Buffer.from(service.environment.BERTH_REGISTRY_SECRET ?? '', 'hex');
    const opens = (header: string | null) => verifyPullToken(header?.replace('Bearer ', '') ?? '', secret, Date.now());
    expect(opens(question.pushAuthorization)).toMatchObject({ repositories: [`${tenant.name}/made/here`], actions: ['pull', 'push'] });
    expect(opens(question.pullAuthorization)).toMatchObject({ repositories: [`${tenant.name}/app`], actions: ['pull'] });
    const entries = (await service.admin.get('/v1/admin/audit')).json.items as { action: string; target: string }[];
    expect(entries).toContainEqual(expect.objectContaining({ action: 'image.commit', target: `${tenant.name}/made/here:v2` }));
    await stop(id);
  });

  it.each(['Made', '../other', 'a//b', '/a', ''])('makes no image called %j', async (name) => {
    expect((await tenant.api.post('/v1/runs/run_01m84hrxq4g7c9h2rt5b16rk65/commit', { name })).status).toBe(400);
  });

  it('is never asked for another tenant, nor answered by another node', async () => {
    const id = await start();
    const other = await service.tenant();
    expect((await other.api.get(`/v1/runs/${id}/diff`)).status).toBe(404);
    expect(asked).toEqual([]);

    const stranger = await service.agent();
    let question = '';
    peer.answer = ({ id: asking }) => {
      question = asking;
      return null;
    };
    const waiting = tenant.api.get(`/v1/runs/${id}/diff`);
    await eventually(() => expect(question).not.toBe(''), patience);
    stranger.send({ type: 'answer', id: question, answer: { kind: 'changes', changes: [], truncated: false } });
    const acknowledged = stranger.heartbeatAcks;
    await eventually(() => expect(stranger.heartbeatAcks).toBeGreaterThan(acknowledged + 1), patience);
    peer.send({ type: 'answer', id: question, answer: told });
    expect((await waiting).json).toMatchObject({ changes: told.changes });
  });
});

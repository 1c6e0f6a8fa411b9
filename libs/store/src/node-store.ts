import { randomBytes } from 'node:crypto';
import { idRandomBytes, newId } from '@berth/core';
import type pg from 'pg';
import type { PrismaClient } from './generated/client.js';
import { inTransaction } from './pool.js';
import { type Actor, type NodeRow, NodeStore, systemActor } from './ports.js';
import { nodeRow } from './rows.js';
import { writeAudit } from './sql/audit.js';

type NodeFacts = Parameters<NodeStore['connected']>[1];

// A word from a node ends its being lost; only an operator ends its draining or its death.
const heardFrom = `CASE WHEN state <> 'lost' THEN state WHEN drain_requested THEN 'draining' ELSE 'ready' END`;

const stateChanges = { ready: 'node.undrain', draining: 'node.drain', dead: 'node.declareDead' } as const;

export class PrismaNodeStore extends NodeStore {
  constructor(
    private readonly prisma: PrismaClient,
    private readonly pool: pg.Pool,
  ) {
    super();
  }

  override async createJoinToken(input: { hash: string; expiresAt: Date; uses: number }, by: Actor = systemActor): Promise<void> {
    const { hash, expiresAt, uses } = input;
    await inTransaction(this.pool, async (client) => {
      await client.query('INSERT INTO join_tokens (hash, uses_left, expires_at) VALUES ($1, $2, $3)', [hash, uses, expiresAt]);
      // A part of the hash tells tokens apart and opens nothing.
      const target = hash.slice(0, 12);
      await writeAudit(client, by, {
        action: 'joinToken.create',
        tenantId: null,
        target,
        details: { uses, expiresAt: expiresAt.toISOString() },
      });
    });
  }

  override async join(input: { tokenHash: string; credentialHash: string; name: string; now: Date }): Promise<NodeRow | null> {
    const id = newId('node', input.now.getTime(), randomBytes(idRandomBytes));
    // Lost until its agent dials in and says what the node offers.
    const joined = await inTransaction(this.pool, async (client) => {
      const { rowCount } = await client.query(
        `WITH token AS (
           UPDATE join_tokens SET uses_left = uses_left - 1 WHERE hash = $1 AND uses_left > 0 AND expires_at > $5 RETURNING 1
         )
         INSERT INTO nodes (id, name, state, credential_hash, created_at) SELECT $2, $3, 'lost', $4, $5 FROM token`,
        [input.tokenHash, id, input.name, input.credentialHash, input.now],
      );
      const details = { name: input.name, token: input.tokenHash.slice(0, 12) };
      if (rowCount === 1) await writeAudit(client, systemActor, { action: 'node.join', tenantId: null, target: id, details });
      return rowCount === 1;
    });
    return joined ? this.find(id) : null;
  }

  override async authenticate(credentialHash: string): Promise<NodeRow | null> {
    const node = await this.prisma.node.findUnique({ where: { credentialHash } });
    return node === null ? null : nodeRow(node);
  }

  override async connected(nodeId: string, facts: NodeFacts, now: Date): Promise<void> {
    await this.pool.query(
      `UPDATE nodes SET cpu_millis = $2, memory_bytes = $3, agent_version = $4, kernel = $5, architecture = $6, cgroup_mode = $7, features = $9,
         state = ${heardFrom}, last_heartbeat_at = greatest(last_heartbeat_at, $8), disk_bytes = $10
       WHERE id = $1`,
      [
        nodeId,
        facts.cpuMillis,
        facts.memoryBytes,
        facts.agentVersion,
        facts.kernel,
        facts.architecture,
        facts.cgroupMode,
        now,
        facts.features,
        facts.diskBytes ?? 0,
      ],
    );
  }

  override async heartbeats(nodeIds: string[], now: Date): Promise<void> {
    await this.pool.query(
      `WITH heard AS (SELECT id FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)
       UPDATE nodes SET state = ${heardFrom}, last_heartbeat_at = greatest(last_heartbeat_at, $2) FROM heard WHERE nodes.id = heard.id`,
      [nodeIds, now],
    );
  }

  override async tellDisk(nodeId: string, disk: object): Promise<void> {
    await this.pool.query('UPDATE nodes SET disk = $2 WHERE id = $1', [nodeId, JSON.stringify(disk)]);
  }

  override async markLost(before: Date): Promise<string[]> {
    const { rows } = await this.pool.query<{ id: string }>(
      `WITH silent AS (
         SELECT id FROM nodes WHERE state IN ('ready', 'draining') AND last_heartbeat_at < $1 ORDER BY id FOR NO KEY UPDATE
       )
       UPDATE nodes SET state = 'lost' FROM silent WHERE nodes.id = silent.id RETURNING nodes.id`,
      [before],
    );
    return rows.map((row) => row.id);
  }

  override async setState(nodeId: string, state: 'ready' | 'draining' | 'dead', by: Actor = systemActor): Promise<NodeRow | null> {
    await inTransaction(this.pool, async (client) => {
      // A node that is lost, or was declared dead, is lost until it is heard from, whatever the operator wishes for afterwards.
      const { rowCount } = await client.query(
        `UPDATE nodes SET drain_requested = ($2 = 'draining'),
           state = CASE WHEN $2 = 'dead' THEN 'dead' WHEN state IN ('lost', 'dead') THEN 'lost' ELSE $2 END
         WHERE id = $1`,
        [nodeId, state],
      );
      if (rowCount === 1) await writeAudit(client, by, { action: stateChanges[state], tenantId: null, target: nodeId });
    });
    return this.find(nodeId);
  }

  override async list(): Promise<NodeRow[]> {
    return (await this.prisma.node.findMany({ orderBy: { id: 'asc' } })).map(nodeRow);
  }

  override async find(nodeId: string): Promise<NodeRow | null> {
    const node = await this.prisma.node.findUnique({ where: { id: nodeId } });
    return node === null ? null : nodeRow(node);
  }
}

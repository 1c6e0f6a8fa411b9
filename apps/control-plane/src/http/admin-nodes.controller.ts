import { type Actor, NodeStore } from '@berth/store';
import { createJoinTokenRequest, joinToken, type Node, node, nodeList } from '@berth/wire';
import { Body, Controller, Get, Inject, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { ChangeNodeState } from '../fleet/change-node-state.js';
import { CreateJoinToken } from '../fleet/create-join-token.js';
import { Api } from './api.js';
import { CallingActor } from './caller.js';
import { renderNode } from './render.js';
import { IdPipe, notFound } from './validation.js';

@Controller('v1/admin')
export class AdminNodesController {
  constructor(
    private readonly createJoinToken: CreateJoinToken,
    private readonly changeNodeState: ChangeNodeState,
    @Inject(NodeStore) private readonly nodes: NodeStore,
  ) {}

  @Post('join-tokens')
  @Api({
    summary: 'Make a token with which machines join as nodes',
    key: 'admin',
    scope: 'nodes:write',
    audited: 'joinToken.create',
    status: 201,
    answer: joinToken,
    problems: ['unsupportedField'],
  })
  async createToken(
    @CallingActor() by: Actor,
    @Body({ schema: createJoinTokenRequest }) request: z.infer<typeof createJoinTokenRequest>,
  ): Promise<z.infer<typeof joinToken>> {
    const { token, expiresAt } = await this.createJoinToken.execute(request, by);
    return { token, expiresAt: expiresAt.toISOString() };
  }

  @Get('nodes')
  @Api({ summary: 'List nodes', key: 'admin', scope: 'nodes:read', status: 200, answer: nodeList })
  async list(): Promise<z.infer<typeof nodeList>> {
    return { items: (await this.nodes.list()).map(renderNode) };
  }

  @Get('nodes/:id')
  @Api({ summary: 'Look at a node', key: 'admin', scope: 'nodes:read', status: 200, answer: node, problems: ['notFound'] })
  async get(@Param('id', new IdPipe('node')) id: string): Promise<Node> {
    const row = await this.nodes.find(id);
    if (row === null) throw notFound('node');
    return renderNode(row);
  }

  @Post('nodes/:id/drain')
  @Api({
    summary: 'Place no more runs on a node; those it has go on',
    key: 'admin',
    scope: 'nodes:write',
    audited: 'node.drain',
    status: 200,
    answer: node,
    problems: ['notFound'],
  })
  drain(@CallingActor() by: Actor, @Param('id', new IdPipe('node')) id: string): Promise<Node> {
    return this.change(by, id, 'draining');
  }

  @Post('nodes/:id/undrain')
  @Api({
    summary: 'Place runs on a node again',
    key: 'admin',
    scope: 'nodes:write',
    audited: 'node.undrain',
    status: 200,
    answer: node,
    problems: ['notFound'],
  })
  undrain(@CallingActor() by: Actor, @Param('id', new IdPipe('node')) id: string): Promise<Node> {
    return this.change(by, id, 'ready');
  }

  @Post('nodes/:id/declare-dead')
  @Api({
    summary: 'Declare that a node is gone for good: its runs are retried elsewhere or fail with nodeLost',
    key: 'admin',
    scope: 'nodes:write',
    audited: 'node.declareDead',
    status: 200,
    answer: node,
    problems: ['notFound'],
  })
  declareDead(@CallingActor() by: Actor, @Param('id', new IdPipe('node')) id: string): Promise<Node> {
    return this.change(by, id, 'dead');
  }

  private async change(by: Actor, id: string, state: 'ready' | 'draining' | 'dead'): Promise<Node> {
    const row = await this.changeNodeState.execute(id, state, by);
    if (row === null) throw notFound('node');
    return renderNode(row);
  }
}

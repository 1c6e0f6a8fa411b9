import { AppError } from '@berth/core';
import { joinRequest, joinResponse } from '@berth/wire';
import { Body, Controller, Get, Post } from '@nestjs/common';
import type { z } from 'zod';
import { JoinNode } from '../fleet/join-node.js';
import { Api } from './api.js';

/** What nodes ask over HTTP; everything else they say on their link. */
@Controller('v1/nodes')
export class NodesController {
  constructor(private readonly joinNode: JoinNode) {}

  @Post('join')
  @Api({ summary: 'Trade a join token for a node credential', key: 'none', status: 200, answer: joinResponse, problems: ['unauthorized'] })
  join(@Body({ schema: joinRequest }) request: z.infer<typeof joinRequest>): Promise<z.infer<typeof joinResponse>> {
    return this.joinNode.execute(request.token, request.name);
  }

  @Get('link')
  @Api({
    summary: "A node's WebSocket: ?channel=control or ?channel=logs, with its credential as Bearer",
    key: 'none',
    status: 101,
    problems: ['unauthorized'],
  })
  link(): never {
    throw new AppError('invalidRequest', 'the agent link is a WebSocket; dial it as one');
  }
}

import type { TenantRow } from '@berth/store';
import { type RunDiff, runDiff } from '@berth/wire';
import { Controller, Get, Param, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { ReadChanges } from '../reporting/read-changes.js';
import { Api } from './api.js';
import { CallingKeyHash, CallingTenant } from './caller.js';
import { OpenStreams } from './open-streams.js';
import { IdPipe, notFound } from './validation.js';

/** What is asked of the filesystem that a running container has. */
@Controller('v1/runs')
export class RunFilesController {
  constructor(
    private readonly readChanges: ReadChanges,
    private readonly streams: OpenStreams,
  ) {}

  @Get(':id/diff')
  @Api({
    summary: "What a running run's container has written to its filesystem",
    key: 'tenant',
    scope: 'runs:read',
    status: 200,
    answer: runDiff,
    problems: ['notFound', 'conflict', 'unavailable'],
  })
  async diff(
    @CallingTenant() tenant: TenantRow,
    @CallingKeyHash() keyHash: string,
    @Param('id', new IdPipe('run')) id: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RunDiff> {
    const { signal, release } = this.streams.track(reply, keyHash);
    try {
      const diff = await this.readChanges.execute(tenant, id, signal);
      if (diff === null) throw notFound('run');
      return diff;
    } finally {
      release();
    }
  }
}

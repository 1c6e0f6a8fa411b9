import type { Actor, TenantRow } from '@berth/store';
import { type CommitRequest, type CommitResult, commitRequest, commitResult, type RunDiff, runDiff } from '@berth/wire';
import { Body, Controller, Get, Param, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { CommitRun } from '../images/commit-run.js';
import { ReadChanges } from '../reporting/read-changes.js';
import { Api } from './api.js';
import { CallingActor, CallingKeyHash, CallingTenant } from './caller.js';
import { OpenStreams } from './open-streams.js';
import { IdPipe, notFound } from './validation.js';

/** What is asked of the filesystem that a running container has. */
@Controller('v1/runs')
export class RunFilesController {
  constructor(
    private readonly readChanges: ReadChanges,
    private readonly commitRun: CommitRun,
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
  diff(
    @CallingTenant() tenant: TenantRow,
    @CallingKeyHash() keyHash: string,
    @Param('id', new IdPipe('run')) id: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RunDiff> {
    return this.found(reply, keyHash, (signal) => this.readChanges.execute(tenant, id, signal));
  }

  @Post(':id/commit')
  @Api({
    summary:
      "Make an image of a running run: its own image and what its container wrote, pushed to the tenant's registry; the container is paused while that is read",
    key: 'tenant',
    scope: 'images:write',
    audited: 'image.commit',
    status: 201,
    answer: commitResult,
    problems: ['notFound', 'conflict', 'unavailable'],
  })
  commit(
    @CallingTenant() tenant: TenantRow,
    @CallingActor() by: Actor,
    @CallingKeyHash() keyHash: string,
    @Param('id', new IdPipe('run')) id: string,
    @Body({ schema: commitRequest }) request: CommitRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<CommitResult> {
    return this.found(reply, keyHash, (signal) => this.commitRun.execute(tenant, id, request, by, signal));
  }

  private async found<T>(reply: FastifyReply, keyHash: string, ask: (signal: AbortSignal) => Promise<T | null>): Promise<T> {
    const { signal, release } = this.streams.track(reply, keyHash);
    try {
      const answer = await ask(signal);
      if (answer === null) throw notFound('run');
      return answer;
    } finally {
      release();
    }
  }
}

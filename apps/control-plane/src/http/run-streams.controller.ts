import { type RunRow, RunStore, type TenantRow } from '@berth/store';
import { logRecord, logsQuery, type Run, run, runEvent, waitQuery } from '@berth/wire';
import { Controller, Get, Headers, Inject, Param, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { FollowEvents } from '../reporting/follow-events.js';
import { FollowLogs } from '../reporting/follow-logs.js';
import { WaitForRun } from '../reporting/wait-for-run.js';
import { Api } from './api.js';
import { CallingKeyHash, CallingTenant } from './caller.js';
import { eventFrame, eventStreamType, keepAliveFrame, parseLastEventId } from './event-stream.js';
import { logAsNdjson, logAsText } from './log-text.js';
import { OpenStreams } from './open-streams.js';
import { renderEvent, renderRun } from './render.js';
import { IdPipe, notFound } from './validation.js';

const lastEventIdHeader = { 'Last-Event-ID': 'Go on after the event with this id' };

/** Answers that take long: waits, and those that grow while they are read, events and logs. */
@Controller('v1')
export class RunStreamsController {
  constructor(
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly waitForRun: WaitForRun,
    private readonly followEvents: FollowEvents,
    private readonly followLogs: FollowLogs,
    private readonly streams: OpenStreams,
  ) {}

  @Get('runs/:id/wait')
  @Api({
    summary: 'The run once it is terminal, or as it stands when timeoutMs has passed',
    key: 'tenant',
    scope: 'runs:read',
    status: 200,
    answer: run,
    problems: ['notFound'],
  })
  async wait(
    @CallingTenant() tenant: TenantRow,
    @CallingKeyHash() keyHash: string,
    @Param('id', new IdPipe('run')) id: string,
    @Query({ schema: waitQuery }) query: z.infer<typeof waitQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Run> {
    const { signal, release } = this.streams.track(reply, keyHash);
    try {
      const row = await this.waitForRun.execute(tenant, id, query.timeoutMs, signal);
      if (row === null) throw notFound('run');
      return renderRun(row);
    } finally {
      release();
    }
  }

  @Get('runs/:id/logs')
  @Api({
    summary: "A run's output, as text or one record a line; with follow, until the run ends",
    key: 'tenant',
    scope: 'runs:read',
    status: 200,
    answers: { 'text/plain': z.string(), 'application/x-ndjson': logRecord },
    problems: ['notFound'],
  })
  async logs(
    @CallingTenant() tenant: TenantRow,
    @CallingKeyHash() keyHash: string,
    @Param('id', new IdPipe('run')) id: string,
    @Query({ schema: logsQuery }) query: z.infer<typeof logsQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { attempt, follow, format, stream } = query;
    this.followLogs.assertAttempt(await this.find(tenant, id), attempt);
    const type = format === 'text' ? 'text/plain; charset=utf-8' : 'application/x-ndjson; charset=utf-8';
    await this.streams.send(reply, keyHash, type, (signal) => {
      const chunks = this.followLogs.execute(tenant, id, { attempt, follow }, signal);
      return format === 'text' ? logAsText(chunks, stream) : logAsNdjson(chunks, stream);
    });
  }

  @Get('runs/:id/events')
  @Api({
    summary: "A run's events, past and coming, until its end; 204 when it has ended and nothing is left to send",
    key: 'tenant',
    scope: 'runs:read',
    status: 200,
    answers: { 'text/event-stream': runEvent },
    headers: lastEventIdHeader,
    problems: ['notFound'],
  })
  async runEvents(
    @CallingTenant() tenant: TenantRow,
    @CallingKeyHash() keyHash: string,
    @Param('id', new IdPipe('run')) id: string,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const after = parseLastEventId(lastEventId);
    await this.find(tenant, id);
    // 204 tells an EventSource to stop reconnecting (HTML Living Standard, 9.2.3).
    if (after !== undefined && (await this.nothingFollows(tenant, id, after))) return void reply.code(204).send();
    await this.sendEvents(reply, keyHash, tenant, id, after);
  }

  @Get('events')
  @Api({
    summary: "The events of all the tenant's runs, past and coming",
    key: 'tenant',
    scope: 'runs:read',
    status: 200,
    answers: { 'text/event-stream': runEvent },
    headers: lastEventIdHeader,
  })
  async tenantEvents(
    @CallingTenant() tenant: TenantRow,
    @CallingKeyHash() keyHash: string,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await this.sendEvents(reply, keyHash, tenant, undefined, parseLastEventId(lastEventId));
  }

  private async sendEvents(
    reply: FastifyReply,
    keyHash: string,
    tenant: TenantRow,
    runId: string | undefined,
    after: bigint | undefined,
  ): Promise<void> {
    const { followEvents } = this;
    await this.streams.send(reply, keyHash, eventStreamType, async function* (signal) {
      for await (const event of followEvents.execute(tenant, runId, after, signal)) {
        yield event === null ? keepAliveFrame : eventFrame(renderEvent(event));
      }
    });
  }

  private async nothingFollows(tenant: TenantRow, runId: string, after: bigint): Promise<boolean> {
    // In this order: an event that comes between the two looks keeps the stream open.
    if (!(await this.followEvents.isOver(tenant, runId))) return false;
    return (await this.runs.events({ tenantId: tenant.id, runId, after, limit: 1 })).length === 0;
  }

  private async find(tenant: TenantRow, id: string): Promise<RunRow> {
    const row = await this.runs.find(tenant.id, id);
    if (row === null) throw notFound('run');
    return row;
  }
}

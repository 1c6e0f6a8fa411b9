import { AppError, explainRun, isValidId } from '@berth/core';
import { type Actor, type RunRow, RunStore, type TenantRow } from '@berth/store';
import {
  type CreateRunRequest,
  createRunRequest,
  explanation,
  listRunsQuery,
  type Quote,
  quote,
  type Run,
  run,
  runList,
  type Explanation as WireExplanation,
} from '@berth/wire';
import { Body, Controller, Delete, Get, Headers, Inject, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { AdmitRun } from '../admission/admit-run.js';
import { CancelRun } from '../admission/cancel-run.js';
import { DeleteRun } from '../admission/delete-run.js';
import { QuoteRun } from '../admission/quote-run.js';
import { Api } from './api.js';
import { CallingActor, CallingTenant } from './caller.js';
import { rateLimitHeaders } from './rate-limit.js';
import { renderExplanation, renderQuote, renderRun } from './render.js';
import { IdPipe, notFound } from './validation.js';

const idempotencyKeyGrammar = /^[\x21-\x7e]{1,255}$/;

@Controller('v1/runs')
export class RunsController {
  constructor(
    private readonly admitRun: AdmitRun,
    private readonly cancelRun: CancelRun,
    @Inject(RunStore) private readonly runs: RunStore,
    private readonly deleteRun: DeleteRun,
    private readonly quoteRun: QuoteRun,
  ) {}

  @Post()
  @Api({
    summary: 'Submit a run, or with dryRun ask what would become of it',
    key: 'tenant',
    scope: 'runs:write',
    status: 201,
    answer: run,
    others: { 200: { when: 'dryRun: nothing was submitted', answer: quote } },
    headers: { 'Idempotency-Key': 'Same key and body: the same run, never a second one. Same key, other body: 409' },
    problems: [
      'invalidImage',
      'unsupportedField',
      'tagNotAllowed',
      'quotaNeverFits',
      'overQuota',
      'idempotencyMismatch',
      'imageNotFound',
      'imageUnauthorized',
      'imageUnsupported',
      'registryUnavailable',
      'payloadTooLarge',
      'unsupportedMediaType',
    ],
  })
  async create(
    @CallingTenant() tenant: TenantRow,
    @Body({ schema: createRunRequest }) { dryRun = false, ...request }: CreateRunRequest,
    @Headers('idempotency-key') key: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Run | Quote> {
    const { submissionsPerMinute: limit } = tenant.quota;
    const { submissionsPerMinute: used } = tenant.used;
    // Before the admission, so that a refusal has them too.
    reply.headers(rateLimitHeaders(limit, used, Date.now()));
    const idempotencyKey = parseIdempotencyKey(key);
    if (dryRun) {
      const quoted = await this.quoteRun.execute(tenant, request);
      reply.status(200);
      return renderQuote(quoted);
    }
    const admitted = await this.admitRun.execute(tenant, request, idempotencyKey);
    if (admitted.submissions !== null) {
      reply.headers(rateLimitHeaders(admitted.submissions.limit, admitted.submissions.used, Date.now()));
    }
    reply.header('location', `/v1/runs/${admitted.run.id}`);
    if (admitted.replayed) reply.header('idempotency-replayed', 'true');
    return renderRun(admitted.run);
  }

  @Get()
  @Api({ summary: 'List runs, newest first', key: 'tenant', scope: 'runs:read', status: 200, answer: runList })
  async list(
    @CallingTenant() tenant: TenantRow,
    @Query({ schema: listRunsQuery }) query: z.infer<typeof listRunsQuery>,
  ): Promise<z.infer<typeof runList>> {
    const { state, label, limit, cursor } = query;
    const { runs, nextCursor } = await this.runs.list(tenant.id, {
      limit,
      ...(state === undefined ? {} : { state }),
      ...(label === undefined ? {} : { label: parseLabel(label) }),
      ...(cursor === undefined ? {} : { cursor: parseCursor(cursor) }),
    });
    return { items: runs.map(renderRun), nextCursor };
  }

  @Get(':id')
  @Api({ summary: 'Look at a run', key: 'tenant', scope: 'runs:read', status: 200, answer: run, problems: ['notFound'] })
  async get(@CallingTenant() tenant: TenantRow, @Param('id', new IdPipe('run')) id: string): Promise<Run> {
    return found(await this.runs.find(tenant.id, id));
  }

  @Get(':id/explain')
  @Api({
    summary: 'Why a run has not started, its place in the line, and what has to happen',
    key: 'tenant',
    scope: 'runs:read',
    status: 200,
    answer: explanation,
    problems: ['notFound'],
  })
  async explain(@CallingTenant() tenant: TenantRow, @Param('id', new IdPipe('run')) id: string): Promise<WireExplanation> {
    const now = new Date();
    const view = await this.runs.explanationView(tenant.id, id, now);
    if (view === null) throw notFound('run');
    return renderExplanation(id, view.state, explainRun(view, now));
  }

  @Post(':id/cancel')
  @Api({
    summary: 'Ask a run to stop; a terminal run stays as it is',
    key: 'tenant',
    scope: 'runs:write',
    audited: 'run.cancel',
    status: 200,
    answer: run,
    problems: ['notFound'],
  })
  async cancel(@CallingTenant() tenant: TenantRow, @CallingActor() by: Actor, @Param('id', new IdPipe('run')) id: string): Promise<Run> {
    return found(await this.cancelRun.execute(tenant, id, by));
  }

  @Delete(':id')
  @Api({
    summary: 'Forget a terminal run with its events and logs',
    key: 'tenant',
    scope: 'runs:write',
    audited: 'run.delete',
    status: 204,
    problems: ['notFound', 'runNotTerminal'],
  })
  async delete(@CallingTenant() tenant: TenantRow, @CallingActor() by: Actor, @Param('id', new IdPipe('run')) id: string): Promise<void> {
    const outcome = await this.deleteRun.execute(tenant, id, by);
    if (outcome === 'notFound') throw notFound('run');
    if (outcome === 'runNotTerminal') throw new AppError('runNotTerminal', 'cancel the run and wait for its end first');
  }
}

function found(row: RunRow | null): Run {
  if (row === null) throw notFound('run');
  return renderRun(row);
}

function parseIdempotencyKey(key: string | undefined): string | null {
  if (key === undefined) return null;
  if (!idempotencyKeyGrammar.test(key)) throw new AppError('invalidRequest', 'Idempotency-Key: must be 1 to 255 visible ASCII characters');
  return key;
}

function parseCursor(text: string): string {
  if (!isValidId('run', text)) {
    const message = 'must be the nextCursor of an earlier answer';
    throw new AppError('invalidRequest', `cursor: ${message}`, { errors: [{ field: 'cursor', message }] });
  }
  return text;
}

function parseLabel(text: string): { key: string; value: string } {
  const at = text.indexOf('=');
  if (at < 1)
    throw new AppError('invalidRequest', 'label: must be key=value', { errors: [{ field: 'label', message: 'must be key=value' }] });
  return { key: text.slice(0, at), value: text.slice(at + 1) };
}

import { AppError } from '@berth/core';
import { RunStore, type TenantRow, type UsageRow } from '@berth/store';
import { type UsageLine, type UsageList, usageList, usageQuery } from '@berth/wire';
import { Controller, Get, Inject, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Api } from './api.js';
import { CallingTenant } from './caller.js';
import { usageAsCsv } from './usage-csv.js';

type UsageQuery = z.infer<typeof usageQuery>;

const dayMs = 86_400_000;
const daysMax = 366;
const linesMax = 10_000;
const description = { status: 200, answers: { 'application/json': usageList, 'text/csv': z.string() } } as const;

@Controller('v1')
export class UsageController {
  constructor(@Inject(RunStore) private readonly runs: RunStore) {}

  @Get('usage')
  @Api({ summary: 'What ended runs used, by day and label', key: 'tenant', scope: 'quota:read', ...description })
  ofTenant(
    @CallingTenant() caller: TenantRow,
    @Query({ schema: usageQuery }) query: UsageQuery,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<UsageList | string> {
    return this.answer(caller.id, query, reply);
  }

  @Get('admin/usage')
  @Api({ summary: 'What the ended runs of every tenant used, by day and label', key: 'admin', scope: 'tenants:read', ...description })
  ofAll(@Query({ schema: usageQuery }) query: UsageQuery, @Res({ passthrough: true }) reply: FastifyReply): Promise<UsageList | string> {
    return this.answer(null, query, reply);
  }

  private async answer(tenantId: string | null, query: UsageQuery, reply: FastifyReply): Promise<UsageList | string> {
    const { from, to } = rangeOf(query, new Date());
    const label = query.label ?? null;
    const rows = await this.runs.usage({ tenantId, from, to, label, limit: linesMax + 1 });
    if (rows.length > linesMax) throw invalid('from', `there are more than ${linesMax} lines: ask for fewer days`);
    const items = rows.map(renderLine);
    if (query.format === 'json') return { from, to, label, items };
    reply.type('text/csv; charset=utf-8');
    return usageAsCsv(items, label);
  }
}

function rangeOf(query: UsageQuery, now: Date): { from: string; to: string } {
  const today = now.toISOString().slice(0, 10);
  const to = query.to ?? today;
  const from = query.from ?? `${to.slice(0, 7)}-01`;
  const days = (Date.parse(to) - Date.parse(from)) / dayMs + 1;
  if (days < 1) throw invalid('to', `must not be before ${from}`);
  if (days > daysMax) throw invalid('from', `at most ${daysMax} days at a time, these are ${days}`);
  return { from, to };
}

function invalid(field: string, message: string): AppError {
  return new AppError('invalidRequest', `${field}: ${message}`, { errors: [{ field, message }] });
}

function renderLine({ tenantName, cpuTimeUs, ...row }: UsageRow): UsageLine {
  return { ...row, tenant: tenantName, cpuTimeMs: cpuTimeUs / 1000 };
}

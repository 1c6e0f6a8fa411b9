import { type Actor, TenantStore } from '@berth/store';
import { createTenantRequest, type Tenant, tenant, tenantList, updateTenantRequest } from '@berth/wire';
import { Body, Controller, Get, Inject, Param, Patch, Post } from '@nestjs/common';
import type { z } from 'zod';
import { UpdateTenant } from '../admission/update-tenant.js';
import { CONFIG, type Config } from '../config.js';
import { Api } from './api.js';
import { CallingActor } from './caller.js';
import { KnownKeys } from './known-keys.js';
import { renderTenant } from './render.js';
import { IdPipe, notFound } from './validation.js';

@Controller('v1/admin/tenants')
export class AdminTenantsController {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(TenantStore) private readonly tenants: TenantStore,
    private readonly updateTenant: UpdateTenant,
    private readonly knownKeys: KnownKeys,
  ) {}

  @Post()
  @Api({
    summary: 'Create a tenant',
    key: 'admin',
    scope: 'tenants:write',
    audited: 'tenant.create',
    status: 201,
    answer: tenant,
    problems: ['conflict', 'unsupportedField'],
  })
  async create(
    @CallingActor() by: Actor,
    @Body({ schema: createTenantRequest }) request: z.infer<typeof createTenantRequest>,
  ): Promise<Tenant> {
    const quota = { ...this.config.defaults.quota, ...defined(request.quota) };
    const { name, runLimits, weight, requireDigest = false, features = [], retainRunsMs = null } = request;
    return renderTenant(
      await this.tenants.create(
        {
          name,
          quota,
          requireDigest,
          features,
          retainRunsMs,
          runLimits: defined(runLimits),
          ...(weight === undefined ? {} : { weight }),
        },
        by,
      ),
    );
  }

  @Get()
  @Api({ summary: 'List tenants', key: 'admin', scope: 'tenants:read', status: 200, answer: tenantList })
  async list(): Promise<z.infer<typeof tenantList>> {
    return { items: (await this.tenants.list()).map(renderTenant) };
  }

  @Get(':id')
  @Api({ summary: 'Look at a tenant', key: 'admin', scope: 'tenants:read', status: 200, answer: tenant, problems: ['notFound'] })
  async get(@Param('id', new IdPipe('ten')) id: string): Promise<Tenant> {
    const row = await this.tenants.find(id);
    if (row === null) throw notFound('ten');
    return renderTenant(row);
  }

  @Patch(':id')
  @Api({
    summary: "Change a tenant's quota or policy",
    key: 'admin',
    scope: 'tenants:write',
    audited: 'tenant.update',
    status: 200,
    answer: tenant,
    problems: ['notFound', 'unsupportedField'],
  })
  async update(
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('ten')) id: string,
    @Body({ schema: updateTenantRequest }) request: z.infer<typeof updateTenantRequest>,
  ): Promise<Tenant> {
    const row = await this.updateTenant.execute(
      id,
      {
        ...(request.quota === undefined ? {} : { quota: defined(request.quota) }),
        ...(request.requireDigest === undefined ? {} : { requireDigest: request.requireDigest }),
        ...(request.features === undefined ? {} : { features: request.features }),
        ...(request.retainRunsMs === undefined ? {} : { retainRunsMs: request.retainRunsMs }),
        ...(request.weight === undefined ? {} : { weight: request.weight }),
        ...(request.runLimits === undefined ? {} : { runLimits: defined(request.runLimits) }),
      },
      by,
    );
    if (row === null) throw notFound('ten');
    this.knownKeys.changed(id);
    return renderTenant(row);
  }
}

/** Without the members that are there and undefined: as if they had not been sent. */
function defined<T extends object>(value: T | undefined): { [K in keyof T]?: Defined<T[K]> } {
  const isObject = (inner: unknown) => typeof inner === 'object' && inner !== null;
  const entries = Object.entries(value ?? {}).flatMap(([name, inner]) =>
    inner === undefined ? [] : [[name, isObject(inner) ? defined(inner) : inner]],
  );
  return Object.fromEntries(entries) as { [K in keyof T]?: Defined<T[K]> };
}

type Defined<T> = T extends object ? { [K in keyof T]?: Exclude<T[K], undefined> } : Exclude<T, undefined>;

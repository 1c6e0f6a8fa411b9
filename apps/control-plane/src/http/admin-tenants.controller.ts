import { ApiKeyStore, TenantStore } from '@berth/store';
import {
  createdKey,
  createKeyRequest,
  createTenantRequest,
  keyList,
  type Tenant,
  tenant,
  tenantList,
  updateTenantRequest,
} from '@berth/wire';
import { Body, Controller, Delete, Get, Inject, Param, Patch, Post } from '@nestjs/common';
import type { z } from 'zod';
import { CreateKey } from '../admission/create-key.js';
import { UpdateTenant } from '../admission/update-tenant.js';
import { CONFIG, type Config } from '../config.js';
import { Api } from './api.js';
import { KnownKeys } from './known-keys.js';
import { renderKey, renderTenant } from './render.js';
import { IdPipe, notFound } from './validation.js';

@Controller('v1/admin/tenants')
export class AdminTenantsController {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(TenantStore) private readonly tenants: TenantStore,
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    private readonly updateTenant: UpdateTenant,
    private readonly createKey: CreateKey,
    private readonly knownKeys: KnownKeys,
  ) {}

  @Post()
  @Api({ summary: 'Create a tenant', key: 'admin', status: 201, answer: tenant, problems: ['conflict', 'unsupportedField'] })
  async create(@Body({ schema: createTenantRequest }) request: z.infer<typeof createTenantRequest>): Promise<Tenant> {
    const quota = { ...this.config.defaults.quota, ...defined(request.quota) };
    const { name, runLimits, weight, requireDigest = false, features = [] } = request;
    return renderTenant(
      await this.tenants.create({
        name,
        quota,
        requireDigest,
        features,
        runLimits: defined(runLimits),
        ...(weight === undefined ? {} : { weight }),
      }),
    );
  }

  @Get()
  @Api({ summary: 'List tenants', key: 'admin', status: 200, answer: tenantList })
  async list(): Promise<z.infer<typeof tenantList>> {
    return { items: (await this.tenants.list()).map(renderTenant) };
  }

  @Get(':id')
  @Api({ summary: 'Look at a tenant', key: 'admin', status: 200, answer: tenant, problems: ['notFound'] })
  async get(@Param('id', new IdPipe('ten')) id: string): Promise<Tenant> {
    const row = await this.tenants.find(id);
    if (row === null) throw notFound('ten');
    return renderTenant(row);
  }

  @Patch(':id')
  @Api({
    summary: "Change a tenant's quota or policy",
    key: 'admin',
    status: 200,
    answer: tenant,
    problems: ['notFound', 'unsupportedField'],
  })
  async update(
    @Param('id', new IdPipe('ten')) id: string,
    @Body({ schema: updateTenantRequest }) request: z.infer<typeof updateTenantRequest>,
  ): Promise<Tenant> {
    const row = await this.updateTenant.execute(id, {
      ...(request.quota === undefined ? {} : { quota: defined(request.quota) }),
      ...(request.requireDigest === undefined ? {} : { requireDigest: request.requireDigest }),
      ...(request.features === undefined ? {} : { features: request.features }),
      ...(request.weight === undefined ? {} : { weight: request.weight }),
      ...(request.runLimits === undefined ? {} : { runLimits: defined(request.runLimits) }),
    });
    if (row === null) throw notFound('ten');
    this.knownKeys.changed(id);
    return renderTenant(row);
  }

  @Post(':id/keys')
  @Api({
    summary: 'Create an API key; its secret is in this answer and nowhere else',
    key: 'admin',
    status: 201,
    answer: createdKey,
    problems: ['notFound', 'unsupportedField'],
  })
  async addKey(
    @Param('id', new IdPipe('ten')) id: string,
    @Body({ schema: createKeyRequest }) request: z.infer<typeof createKeyRequest>,
  ): Promise<z.infer<typeof createdKey>> {
    const expiresAt = request.expiresAt === undefined ? null : new Date(request.expiresAt);
    const created = await this.createKey.execute(id, request.name, expiresAt);
    if (created === null) throw notFound('ten');
    return { ...renderKey(created.key), secret: created.secret };
  }

  @Get(':id/keys')
  @Api({ summary: "List a tenant's API keys", key: 'admin', status: 200, answer: keyList, problems: ['notFound'] })
  async listKeys(@Param('id', new IdPipe('ten')) id: string): Promise<z.infer<typeof keyList>> {
    if ((await this.tenants.find(id)) === null) throw notFound('ten');
    return { items: (await this.apiKeys.list(id)).map(renderKey) };
  }

  @Delete(':id/keys/:keyId')
  @Api({ summary: 'Revoke an API key, open streams included', key: 'admin', status: 204, problems: ['notFound'] })
  async revokeKey(@Param('id', new IdPipe('ten')) id: string, @Param('keyId', new IdPipe('key')) keyId: string): Promise<void> {
    if (!(await this.apiKeys.revoke(id, keyId))) throw notFound('key');
    this.knownKeys.changed(id);
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

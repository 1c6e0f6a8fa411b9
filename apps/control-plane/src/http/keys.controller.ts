import { type Actor, ApiKeyStore, type TenantRow } from '@berth/store';
import { createdKey, createKeyRequest, keyList, rotateKeyRequest } from '@berth/wire';
import { Body, Controller, Delete, Get, Inject, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { CreateKey } from '../access/create-key.js';
import { RevokeKey } from '../access/revoke-key.js';
import { RotateKey } from '../access/rotate-key.js';
import { Api } from './api.js';
import { Asker, type Caller, CallingActor, CallingTenant } from './caller.js';
import { keyRequest } from './key-request.js';
import { renderKey } from './render.js';
import { IdPipe, notFound } from './validation.js';

/** A tenant's own keys. */
@Controller('v1/keys')
export class KeysController {
  constructor(
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    private readonly createKey: CreateKey,
    private readonly rotateKey: RotateKey,
    private readonly revokeKey: RevokeKey,
  ) {}

  @Post()
  @Api({
    summary: 'Create a key of your tenant; its secret is in this answer and nowhere else',
    key: 'tenant',
    scope: 'keys:write',
    audited: 'key.create',
    status: 201,
    answer: createdKey,
    problems: ['unsupportedField'],
  })
  async create(
    @CallingTenant() tenant: TenantRow,
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Body({ schema: createKeyRequest }) request: z.infer<typeof createKeyRequest>,
  ): Promise<z.infer<typeof createdKey>> {
    const { key, secret } = await this.createKey.execute(keyRequest(tenant.id, request), caller, by);
    return { ...renderKey(key), secret };
  }

  @Get()
  @Api({ summary: "List your tenant's keys", key: 'tenant', scope: 'keys:read', status: 200, answer: keyList })
  async list(@CallingTenant() tenant: TenantRow): Promise<z.infer<typeof keyList>> {
    return { items: (await this.apiKeys.list(tenant.id)).map(renderKey) };
  }

  @Post(':id/rotate')
  @Api({
    summary: 'Replace a key by one that opens the same; the old one goes on for overlapMs',
    key: 'tenant',
    scope: 'keys:write',
    audited: 'key.rotate',
    status: 201,
    answer: createdKey,
    problems: ['notFound', 'unsupportedField'],
  })
  async rotate(
    @CallingTenant() tenant: TenantRow,
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('key')) id: string,
    @Body({ schema: rotateKeyRequest }) { overlapMs }: z.infer<typeof rotateKeyRequest>,
  ): Promise<z.infer<typeof createdKey>> {
    const rotated = await this.rotateKey.execute(tenant.id, id, overlapMs, caller, by);
    if (rotated === null) throw notFound('key');
    return { ...renderKey(rotated.key), secret: rotated.secret };
  }

  @Delete(':id')
  @Api({
    summary: 'Revoke a key of your tenant, open streams included',
    key: 'tenant',
    scope: 'keys:write',
    audited: 'key.revoke',
    status: 204,
    problems: ['notFound'],
  })
  async revoke(@CallingTenant() tenant: TenantRow, @CallingActor() by: Actor, @Param('id', new IdPipe('key')) id: string): Promise<void> {
    if (!(await this.revokeKey.execute(tenant.id, id, by))) throw notFound('key');
  }
}

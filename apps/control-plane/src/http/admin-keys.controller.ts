import { type Actor, ApiKeyStore, TenantStore } from '@berth/store';
import { createdKey, createKeyRequest, createOperatorKeyRequest, keyList, rotateKeyRequest } from '@berth/wire';
import { Body, Controller, Delete, Get, Inject, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { CreateKey } from '../access/create-key.js';
import { RevokeKey } from '../access/revoke-key.js';
import { RotateKey } from '../access/rotate-key.js';
import { Api } from './api.js';
import { Asker, type Caller, CallingActor } from './caller.js';
import { keyRequest } from './key-request.js';
import { renderKey } from './render.js';
import { IdPipe, notFound } from './validation.js';

type CreatedKey = z.infer<typeof createdKey>;
type KeyList = z.infer<typeof keyList>;

const creates = { key: 'admin', scope: 'keys:write', audited: 'key.create', status: 201, answer: createdKey } as const;
const rotates = { ...creates, audited: 'key.rotate', problems: ['notFound', 'unsupportedField'] } as const;
const reads = { key: 'admin', scope: 'keys:read', status: 200, answer: keyList } as const;
const revokes = { key: 'admin', scope: 'keys:write', audited: 'key.revoke', status: 204, problems: ['notFound'] } as const;
/** The operator's own keys, and those that it gives to tenants. */
@Controller('v1/admin')
export class AdminKeysController {
  constructor(
    @Inject(TenantStore) private readonly tenants: TenantStore,
    @Inject(ApiKeyStore) private readonly apiKeys: ApiKeyStore,
    private readonly createKey: CreateKey,
    private readonly rotateKey: RotateKey,
    private readonly revokeKey: RevokeKey,
  ) {}

  @Post('keys')
  @Api({
    summary: "Create a key of the operator's; its secret is in this answer and nowhere else",
    ...creates,
    problems: ['unsupportedField'],
  })
  create(
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Body({ schema: createOperatorKeyRequest }) request: z.infer<typeof createOperatorKeyRequest>,
  ): Promise<CreatedKey> {
    return this.add(null, caller, by, request);
  }

  @Get('keys')
  @Api({ summary: "List the operator's keys", ...reads })
  async list(): Promise<KeyList> {
    return { items: (await this.apiKeys.list(null)).map(renderKey) };
  }

  @Post('keys/:id/rotate')
  @Api({
    summary: "Replace a key of the operator's; the old one goes on for overlapMs",
    ...rotates,
    problems: [...rotates.problems, 'conflict'],
  })
  rotate(
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('key')) id: string,
    @Body({ schema: rotateKeyRequest }) { overlapMs }: z.infer<typeof rotateKeyRequest>,
  ): Promise<CreatedKey> {
    return this.replace(null, id, overlapMs, caller, by);
  }

  @Delete('keys/:id')
  @Api({ summary: "Revoke a key of the operator's, open streams included", ...revokes })
  async revoke(@CallingActor() by: Actor, @Param('id', new IdPipe('key')) id: string): Promise<void> {
    if (!(await this.revokeKey.execute(null, id, by))) throw notFound('key');
  }

  @Post('tenants/:id/keys')
  @Api({
    summary: 'Create a key for a tenant; its secret is in this answer and nowhere else',
    ...creates,
    problems: ['notFound', 'unsupportedField'],
  })
  async createForTenant(
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('ten')) id: string,
    @Body({ schema: createKeyRequest }) request: z.infer<typeof createKeyRequest>,
  ): Promise<CreatedKey> {
    await this.assertTenant(id);
    return this.add(id, caller, by, request);
  }

  @Get('tenants/:id/keys')
  @Api({ summary: "List a tenant's keys", ...reads, problems: ['notFound'] })
  async listOfTenant(@Param('id', new IdPipe('ten')) id: string): Promise<KeyList> {
    await this.assertTenant(id);
    return { items: (await this.apiKeys.list(id)).map(renderKey) };
  }

  @Post('tenants/:id/keys/:keyId/rotate')
  @Api({ summary: "Replace a tenant's key; the old one goes on for overlapMs", ...rotates })
  rotateOfTenant(
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('ten')) id: string,
    @Param('keyId', new IdPipe('key')) keyId: string,
    @Body({ schema: rotateKeyRequest }) { overlapMs }: z.infer<typeof rotateKeyRequest>,
  ): Promise<CreatedKey> {
    return this.replace(id, keyId, overlapMs, caller, by);
  }

  @Delete('tenants/:id/keys/:keyId')
  @Api({ summary: "Revoke a tenant's key, open streams included", ...revokes })
  async revokeOfTenant(
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('ten')) id: string,
    @Param('keyId', new IdPipe('key')) keyId: string,
  ): Promise<void> {
    if (!(await this.revokeKey.execute(id, keyId, by))) throw notFound('key');
  }

  private async add(tenantId: string | null, caller: Caller, by: Actor, request: z.infer<typeof createKeyRequest>): Promise<CreatedKey> {
    const { key, secret } = await this.createKey.execute(keyRequest(tenantId, request), caller, by);
    return { ...renderKey(key), secret };
  }

  private async replace(tenantId: string | null, id: string, overlapMs: number, caller: Caller, by: Actor): Promise<CreatedKey> {
    const rotated = await this.rotateKey.execute(tenantId, id, overlapMs, caller, by);
    if (rotated === null) throw notFound('key');
    return { ...renderKey(rotated.key), secret: rotated.secret };
  }

  private async assertTenant(id: string): Promise<void> {
    if ((await this.tenants.find(id)) === null) throw notFound('ten');
  }
}

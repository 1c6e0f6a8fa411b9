import { AppError, grantedScopes, type Role } from '@berth/core';
import { type Actor, MemberStore, type TenantRow } from '@berth/store';
import { createMemberRequest, type Member, member, memberList, updateMemberRequest } from '@berth/wire';
import { Body, Controller, Delete, Get, Inject, Param, Patch, Post } from '@nestjs/common';
import type { z } from 'zod';
import { Api } from './api.js';
import { Asker, type Caller, CallingActor, CallingTenant } from './caller.js';
import { KnownKeys } from './known-keys.js';
import { renderMember } from './render.js';
import { IdPipe, notFound } from './validation.js';

/** Those who hold keys of a tenant. */
@Controller('v1/members')
export class MembersController {
  constructor(
    @Inject(MemberStore) private readonly members: MemberStore,
    private readonly knownKeys: KnownKeys,
  ) {}

  @Post()
  @Api({
    summary: 'Add a member, whose keys open no more than its role',
    key: 'tenant',
    scope: 'keys:write',
    audited: 'member.create',
    status: 201,
    answer: member,
    problems: ['conflict', 'unsupportedField'],
  })
  async create(
    @CallingTenant() tenant: TenantRow,
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Body({ schema: createMemberRequest }) request: z.infer<typeof createMemberRequest>,
  ): Promise<Member> {
    refuseHigherRole(caller, request.role);
    return renderMember(await this.members.create(tenant.id, request, by));
  }

  @Get()
  @Api({ summary: 'List members', key: 'tenant', scope: 'keys:read', status: 200, answer: memberList })
  async list(@CallingTenant() tenant: TenantRow): Promise<z.infer<typeof memberList>> {
    return { items: (await this.members.list(tenant.id)).map(renderMember) };
  }

  @Patch(':id')
  @Api({
    summary: "Change a member's role; its keys follow at once",
    key: 'tenant',
    scope: 'keys:write',
    audited: 'member.update',
    status: 200,
    answer: member,
    problems: ['notFound', 'unsupportedField'],
  })
  async update(
    @CallingTenant() tenant: TenantRow,
    @Asker() caller: Caller,
    @CallingActor() by: Actor,
    @Param('id', new IdPipe('mem')) id: string,
    @Body({ schema: updateMemberRequest }) { role }: z.infer<typeof updateMemberRequest>,
  ): Promise<Member> {
    refuseHigherRole(caller, role);
    const row = await this.members.update(tenant.id, id, role, by);
    if (row === null) throw notFound('mem');
    this.knownKeys.changed(tenant.id);
    return renderMember(row);
  }

  @Delete(':id')
  @Api({
    summary: 'Remove a member and revoke its keys',
    key: 'tenant',
    scope: 'keys:write',
    audited: 'member.remove',
    status: 204,
    problems: ['notFound'],
  })
  async remove(@CallingTenant() tenant: TenantRow, @CallingActor() by: Actor, @Param('id', new IdPipe('mem')) id: string): Promise<void> {
    if (!(await this.members.remove(tenant.id, id, by))) throw notFound('mem');
    this.knownKeys.changed(tenant.id);
  }
}

/** Refuses, as `forbidden`, a role that opens what the asker's key does not. */
function refuseHigherRole(caller: Caller, role: Role): void {
  const beyond = grantedScopes('tenant', { role, scopes: [], memberRole: null }).find((scope) => !caller.scopes.includes(scope));
  if (beyond !== undefined)
    throw new AppError('forbidden', `this key does not open ${beyond} itself, so it cannot give it`, { scope: beyond });
}

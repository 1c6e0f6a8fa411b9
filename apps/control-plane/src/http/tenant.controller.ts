import { type TenantRow, TenantStore } from '@berth/store';
import { type Fairness, fairness, type Tenant, tenant } from '@berth/wire';
import { Controller, Get, Inject } from '@nestjs/common';
import { ReadFairness } from '../scheduler/read-fairness.js';
import { Api } from './api.js';
import { CallingTenant } from './caller.js';
import { renderTenant } from './render.js';

@Controller('v1')
export class TenantController {
  constructor(
    private readonly readFairness: ReadFairness,
    @Inject(TenantStore) private readonly tenants: TenantStore,
  ) {}

  @Get('fairness')
  @Api({
    summary: "The calling tenant's part of the fleet: owed, received, and its longest wait",
    key: 'tenant',
    scope: 'quota:read',
    status: 200,
    answer: fairness,
  })
  fairness(@CallingTenant() caller: TenantRow): Promise<Fairness> {
    return this.readFairness.ofTenant(caller);
  }

  @Get('tenant')
  @Api({
    summary: 'The calling tenant: its quota and what it has reserved',
    key: 'tenant',
    scope: 'quota:read',
    status: 200,
    answer: tenant,
  })
  async get(@CallingTenant() caller: TenantRow): Promise<Tenant> {
    // The caller's own row may be of a moment ago; what is used is asked for to be told as it is.
    return renderTenant((await this.tenants.find(caller.id)) ?? caller);
  }
}

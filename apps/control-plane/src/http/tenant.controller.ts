import type { TenantRow } from '@berth/store';
import { type Tenant, tenant } from '@berth/wire';
import { Controller, Get } from '@nestjs/common';
import { Api } from './api.js';
import { CallingTenant } from './caller.js';
import { renderTenant } from './render.js';

@Controller('v1/tenant')
export class TenantController {
  @Get()
  @Api({ summary: 'The calling tenant: its quota and what it has reserved', key: 'tenant', status: 200, answer: tenant })
  get(@CallingTenant() caller: TenantRow): Tenant {
    return renderTenant(caller);
  }
}

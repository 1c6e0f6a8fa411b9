import { type Tenant, tenantList } from '@berth/wire';
import type { ApiClient } from './api/api-client.js';
import { UsageError } from './failures.js';

/** The tenant that an operand names, by its id or its name. Takes the admin key. */
export async function findTenant(client: ApiClient, operand: string): Promise<Tenant> {
  const { items } = await client.json(tenantList, '/v1/admin/tenants');
  const found = items.find(({ id, name }) => id === operand || name === operand);
  if (found === undefined) throw new UsageError(`there is no tenant ${operand}`);
  return found;
}

import { type Feature, features } from '@berth/core';
import { joinToken, node, nodeList, type Quota, type Tenant, tenant, tenantList } from '@berth/wire';
import type { ApiClient } from '../api/api-client.js';
import { type Command, defineCommand, print, takeOperands, type Values } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { formatQuota } from '../problem-text.js';
import { formatTable } from '../table.js';
import { findTenant } from '../tenants.js';
import { formatDuration, formatSize, parseCpus, parseDuration, parseSize, parseWhole } from '../units.js';

/* What takes the admin key: tenants and nodes; and `quota`, by which a tenant sees its own numbers. */

const quotaFlags = {
  runs: { type: 'string', value: 'NUMBER', description: 'Quota: runs at a time' },
  cpus: { type: 'string', value: 'NUMBER', description: 'Quota: cpus reserved at a time' },
  memory: { type: 'string', short: 'm', value: 'SIZE', description: 'Quota: memory reserved at a time' },
  disk: { type: 'string', value: 'SIZE', description: 'Quota: writable layers reserved at a time' },
  pids: { type: 'string', value: 'NUMBER', description: 'Quota: processes and threads reserved at a time' },
  logs: { type: 'string', value: 'SIZE', description: 'Quota: logs that runs may write, and that are kept' },
  'cpu-hours': { type: 'string', value: 'NUMBER', description: 'Budget of a month, in cpu hours' },
  'memory-hours': { type: 'string', value: 'NUMBER', description: 'Budget of a month, in GiB hours' },
  weight: { type: 'string', value: 'NUMBER', description: "Its part of the fleet beside others'; 100 by default" },
  queued: { type: 'string', value: 'NUMBER', description: 'Quota: runs that wait for quota' },
  'per-minute': { type: 'string', value: 'NUMBER', description: 'Quota: submissions a minute' },
  'retain-runs': {
    type: 'string',
    value: 'DURATION|default',
    description: 'Keep ended runs for so long, or as long as the service does: 7d',
  },
  'require-digest': { type: 'string', value: 'yes|no', description: 'Refuse tags: runs must name images by digest' },
  features: { type: 'string', value: 'LIST', description: `What runs may ask for: any of ${features.join(', ')}, or none` },
} as const;

export const quota = defineCommand({
  name: 'quota',
  summary: 'Show what you may reserve and what you have reserved',
  operands: '',
  options: { json: { type: 'boolean', description: 'As JSON' } },
  async run(context, values, operands) {
    takeOperands(operands);
    const own = await context.client('tenant').json(tenant, '/v1/tenant');
    await print(context.stdout, values.json === true ? `${JSON.stringify(own, null, 2)}\n` : quotaTable(own));
    return exitCodes.ok;
  },
});

const tenantsList = defineCommand({
  name: 'tenants ls',
  summary: 'List tenants',
  operands: '',
  options: { json: { type: 'boolean', description: 'As a JSON array' } },
  async run(context, values, operands) {
    takeOperands(operands);
    const { items } = await context.client('admin').json(tenantList, '/v1/admin/tenants');
    const rows = items.map((one) => [
      one.id,
      one.name,
      `${one.used.concurrentRuns}/${one.quota.concurrentRuns}`,
      `${one.used.cpuMillis / 1000}/${one.quota.cpuMillis / 1000}`,
      `${formatSize(one.used.memoryBytes)}/${formatSize(one.quota.memoryBytes)}`,
    ]);
    const table = formatTable(['TENANT', 'NAME', 'RUNS', 'CPUS', 'MEMORY'], rows);
    await print(context.stdout, values.json === true ? `${JSON.stringify(items, null, 2)}\n` : table);
    return exitCodes.ok;
  },
});

const tenantsCreate = defineCommand({
  name: 'tenants create',
  summary: 'Create a tenant and print its id',
  operands: 'NAME',
  options: quotaFlags,
  async run(context, values, operands) {
    const [name] = takeOperands(operands, 'NAME');
    const body = { name, ...policyOf(values) };
    const created = await context.client('admin').json(tenant, '/v1/admin/tenants', { method: 'POST', body });
    await print(context.stdout, `${created.id}\n`);
    return exitCodes.ok;
  },
});

const tenantsUpdate = defineCommand({
  name: 'tenants update',
  summary: "Change a tenant's quota or policy",
  operands: 'TENANT',
  options: quotaFlags,
  async run(context, values, operands) {
    const [operand] = takeOperands(operands, 'TENANT');
    const body = policyOf(values);
    const client = context.client('admin');
    const { id } = await findTenant(client, operand);
    const changed = await client.json(tenant, `/v1/admin/tenants/${id}`, { method: 'PATCH', body });
    await print(context.stdout, quotaTable(changed));
    return exitCodes.ok;
  },
});

const nodesList = defineCommand({
  name: 'nodes ls',
  summary: 'List nodes',
  operands: '',
  options: { json: { type: 'boolean', description: 'As a JSON array' } },
  async run(context, values, operands) {
    takeOperands(operands);
    const { items } = await context.client('admin').json(nodeList, '/v1/admin/nodes');
    const rows = items.map((one) => [
      one.id,
      one.name,
      one.state,
      String(one.reserved.runs),
      `${one.reserved.cpuMillis / 1000}/${one.cpuMillis / 1000}`,
      `${formatSize(one.reserved.memoryBytes)}/${formatSize(one.memoryBytes)}`,
      one.lastHeartbeatAt === null ? 'never' : `${formatDuration(context.nowMs() - Date.parse(one.lastHeartbeatAt))} ago`,
    ]);
    const table = formatTable(['NODE', 'NAME', 'STATE', 'RUNS', 'CPUS', 'MEMORY', 'HEARTBEAT'], rows);
    await print(context.stdout, values.json === true ? `${JSON.stringify(items, null, 2)}\n` : table);
    return exitCodes.ok;
  },
});

const nodeVerbs = {
  drain: 'Place no more runs on nodes; those they have go on',
  undrain: 'Place runs on nodes again',
  'declare-dead': 'Declare that nodes are gone for good: their runs are retried elsewhere or fail',
};

const nodeChanges = Object.entries(nodeVerbs).map(([verb, summary]) =>
  defineCommand({
    name: `nodes ${verb}`,
    summary,
    operands: 'NODE...',
    options: {},
    async run(context, _values, operands) {
      if (operands.length === 0) throw new UsageError('NODE is missing');
      const client = context.client('admin');
      for (const operand of operands) {
        const { id } = await findNode(client, operand);
        const changed = await client.json(node, `/v1/admin/nodes/${id}/${verb}`, { method: 'POST' });
        await print(context.stdout, `${changed.id} ${changed.state}\n`);
      }
      return exitCodes.ok;
    },
  }),
);

const joinTokenCreate = defineCommand({
  name: 'join-token',
  summary: 'Make a token with which a machine joins as a node (BERTH_JOIN_TOKEN of its agent)',
  operands: '',
  options: {
    expires: { type: 'string', value: 'DURATION', description: 'Valid for so long' },
    uses: { type: 'string', value: 'NUMBER', description: 'How many machines may use it' },
  },
  async run(context, values, operands) {
    takeOperands(operands);
    const body = {
      ...(values.expires === undefined ? {} : { expiresInMs: parseDuration(values.expires, '--expires') }),
      ...(values.uses === undefined ? {} : { uses: parseWhole(values.uses, '--uses') }),
    };
    const { token } = await context.client('admin').json(joinToken, '/v1/admin/join-tokens', { method: 'POST', body });
    await print(context.stdout, `${token}\n`);
    return exitCodes.ok;
  },
});

export const adminCommands: readonly Command[] = [tenantsList, tenantsCreate, tenantsUpdate, nodesList, ...nodeChanges, joinTokenCreate];

function policyOf(values: Values<typeof quotaFlags>): {
  quota?: Partial<Quota>;
  weight?: number;
  requireDigest?: boolean;
  features?: Feature[];
  retainRunsMs?: number | null;
} {
  const asked: Partial<Quota> = {
    ...(values.runs === undefined ? {} : { concurrentRuns: parseWhole(values.runs, '--runs') }),
    ...(values.cpus === undefined ? {} : { cpuMillis: parseCpus(values.cpus, '--cpus') }),
    ...(values.memory === undefined ? {} : { memoryBytes: parseSize(values.memory, '--memory') }),
    ...(values.disk === undefined ? {} : { diskBytes: parseSize(values.disk, '--disk') }),
    ...(values.pids === undefined ? {} : { pids: parseWhole(values.pids, '--pids') }),
    ...(values.logs === undefined ? {} : { logBytes: parseSize(values.logs, '--logs') }),
    ...(values['cpu-hours'] === undefined ? {} : { monthlyCpuMs: parseWhole(values['cpu-hours'], '--cpu-hours') * 3_600_000 }),
    ...(values['memory-hours'] === undefined
      ? {}
      : { monthlyMemoryMibSeconds: parseWhole(values['memory-hours'], '--memory-hours') * 1024 * 3600 }),
    ...(values.queued === undefined ? {} : { queuedRuns: parseWhole(values.queued, '--queued') }),
    ...(values['per-minute'] === undefined ? {} : { submissionsPerMinute: parseWhole(values['per-minute'], '--per-minute') }),
  };
  const requireDigest = values['require-digest'];
  if (requireDigest !== undefined && requireDigest !== 'yes' && requireDigest !== 'no')
    throw new UsageError(`--require-digest ${requireDigest}: write yes or no`);
  return {
    ...(Object.keys(asked).length === 0 ? {} : { quota: asked }),
    ...(values.weight === undefined ? {} : { weight: parseWhole(values.weight, '--weight') }),
    ...(requireDigest === undefined ? {} : { requireDigest: requireDigest === 'yes' }),
    ...(values['retain-runs'] === undefined ? {} : { retainRunsMs: parseRetention(values['retain-runs']) }),
    ...(values.features === undefined ? {} : { features: parseFeatures(values.features) }),
  };
}

function parseRetention(text: string): number | null {
  return text === 'default' ? null : parseDuration(text, '--retain-runs');
}

function parseFeatures(text: string): Feature[] {
  if (text === 'none') return [];
  return text.split(',').map((name) => {
    const found = features.find((feature) => feature === name);
    if (found === undefined) throw new UsageError(`--features ${name}: write none, or some of ${features.join(',')}`);
    return found;
  });
}

async function findNode(client: ApiClient, operand: string): Promise<{ id: string }> {
  const { items } = await client.json(nodeList, '/v1/admin/nodes');
  const found = items.filter(({ id, name }) => id === operand || name === operand);
  const [first] = found;
  if (first === undefined) throw new UsageError(`there is no node ${operand}`);
  if (found.length > 1) throw new UsageError(`${found.length} nodes are named ${operand}: use the id`);
  return first;
}

function quotaTable({ name, quota: limit, used, requireDigest, retainRunsMs }: Tenant): string {
  const rows = (Object.keys(limit) as (keyof Quota)[]).map((dimension) => [
    dimension,
    formatQuota(dimension, used[dimension]),
    formatQuota(dimension, limit[dimension]),
  ]);
  const policies = [
    ...(requireDigest ? ['images by digest only'] : []),
    ...(retainRunsMs === null ? [] : [`ended runs are kept for ${formatDuration(retainRunsMs)}`]),
  ];
  return `${name}${policies.length === 0 ? '' : ` (${policies.join(', ')})`}\n${formatTable(['DIMENSION', 'USED', 'LIMIT'], rows)}`;
}

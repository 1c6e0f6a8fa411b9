import { roles, scopes } from '@berth/core';
import { type AuditEntry, auditList, createdKey, keyList, member, memberList } from '@berth/wire';
import type { ApiClient } from '../api/api-client.js';
import { type Command, type Context, defineCommand, print, takeOperands } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { formatTable } from '../table.js';
import { findTenant } from '../tenants.js';
import { parseDuration, parseWhole } from '../units.js';

/* Keys, members and the audit log: a tenant's own, or by the admin key those of any tenant (--tenant) and of the operator (--operator). */

const owner = {
  tenant: { type: 'string', value: 'TENANT', description: "A tenant's, by the admin key" },
  operator: { type: 'boolean', description: "The operator's, by the admin key" },
} as const;
const json = { type: 'boolean', description: 'As a JSON array' } as const;

const keysList = defineCommand({
  name: 'keys ls',
  summary: 'List API keys',
  operands: '',
  options: { ...owner, json },
  async run(context, values, operands) {
    takeOperands(operands);
    const { client, path } = await keysOf(context, values);
    const { items } = await client.json(keyList, path);
    const rows = items.map((key) => [key.id, key.name, key.role, key.createdAt, key.expiresAt ?? 'never', key.revokedAt ?? '']);
    const table = formatTable(['KEY', 'NAME', 'ROLE', 'CREATED', 'EXPIRES', 'REVOKED'], rows);
    await print(context.stdout, values.json === true ? `${JSON.stringify(items, null, 2)}\n` : table);
    return exitCodes.ok;
  },
});

const keysCreate = defineCommand({
  name: 'keys create',
  summary: 'Create an API key and print its secret, which is shown only now',
  operands: '',
  options: {
    ...owner,
    name: { type: 'string', value: 'NAME', description: 'What it is for' },
    role: { type: 'string', value: 'ROLE', description: `One of ${roles.join(', ')}; submitter by default, the operator's reader` },
    scopes: { type: 'string', value: 'LIST', description: `Only these of what the role opens, of ${scopes.join(', ')}` },
    member: { type: 'string', value: 'MEMBER', description: 'Whose it is' },
    expires: { type: 'string', value: 'DURATION', description: 'Valid for so long; for ever by default' },
  },
  async run(context, values, operands) {
    takeOperands(operands);
    const expiresMs = values.expires === undefined ? null : parseDuration(values.expires, '--expires');
    const body = {
      name: values.name ?? 'cli',
      ...(values.role === undefined ? {} : { role: oneOf(roles, values.role, '--role') }),
      ...(values.scopes === undefined ? {} : { scopes: values.scopes.split(',').map((text) => oneOf(scopes, text, '--scopes')) }),
      ...(values.member === undefined ? {} : { memberId: values.member }),
      ...(expiresMs === null ? {} : { expiresAt: new Date(context.nowMs() + expiresMs).toISOString() }),
    };
    const { client, path } = await keysOf(context, values);
    await print(context.stdout, `${(await client.json(createdKey, path, { method: 'POST', body })).secret}\n`);
    return exitCodes.ok;
  },
});

const keysRotate = defineCommand({
  name: 'keys rotate',
  summary: 'Replace an API key and print the secret of the new one; the old one goes on for a while',
  operands: 'KEY',
  options: { ...owner, overlap: { type: 'string', value: 'DURATION', description: 'For how long the old one goes on; 1h by default' } },
  async run(context, values, operands) {
    const [key] = takeOperands(operands, 'KEY');
    const body = values.overlap === undefined ? {} : { overlapMs: parseDuration(values.overlap, '--overlap') };
    const { client, path } = await keysOf(context, values);
    const made = await client.json(createdKey, `${path}/${encodeURIComponent(key)}/rotate`, { method: 'POST', body });
    await print(context.stdout, `${made.secret}\n`);
    return exitCodes.ok;
  },
});

const keysRevoke = defineCommand({
  name: 'keys revoke',
  summary: 'Revoke API keys',
  operands: 'KEY...',
  options: owner,
  async run(context, values, operands) {
    if (operands.length === 0) throw new UsageError('KEY is missing');
    const { client, path } = await keysOf(context, values);
    for (const key of operands) {
      await client.nothing(`${path}/${encodeURIComponent(key)}`, { method: 'DELETE' });
      await print(context.stdout, `${key}\n`);
    }
    return exitCodes.ok;
  },
});

const membersList = defineCommand({
  name: 'members ls',
  summary: 'List those who hold keys of your tenant',
  operands: '',
  options: { json },
  async run(context, values, operands) {
    takeOperands(operands);
    const { items } = await context.client('tenant').json(memberList, '/v1/members');
    const rows = items.map((one) => [one.id, one.name, one.role, one.createdAt]);
    await print(
      context.stdout,
      values.json === true ? `${JSON.stringify(items, null, 2)}\n` : formatTable(['MEMBER', 'NAME', 'ROLE', 'SINCE'], rows),
    );
    return exitCodes.ok;
  },
});

const membersAdd = defineCommand({
  name: 'members add',
  summary: 'Add a member to your tenant and print its id',
  operands: 'NAME ROLE',
  options: {},
  async run(context, _values, operands) {
    const [name, role] = takeOperands(operands, 'NAME', 'ROLE');
    const body = { name, role: oneOf(roles, role, 'ROLE') };
    await print(context.stdout, `${(await context.client('tenant').json(member, '/v1/members', { method: 'POST', body })).id}\n`);
    return exitCodes.ok;
  },
});

const membersRole = defineCommand({
  name: 'members role',
  summary: "Change a member's role; its keys follow at once",
  operands: 'MEMBER ROLE',
  options: {},
  async run(context, _values, operands) {
    const [id, text] = takeOperands(operands, 'MEMBER', 'ROLE');
    const body = { role: oneOf(roles, text, 'ROLE') };
    const changed = await context.client('tenant').json(member, `/v1/members/${encodeURIComponent(id)}`, { method: 'PATCH', body });
    await print(context.stdout, `${changed.id} ${changed.role}\n`);
    return exitCodes.ok;
  },
});

const membersRemove = defineCommand({
  name: 'members rm',
  summary: 'Remove members and revoke their keys',
  operands: 'MEMBER...',
  options: {},
  async run(context, _values, operands) {
    if (operands.length === 0) throw new UsageError('MEMBER is missing');
    for (const id of operands) {
      await context.client('tenant').nothing(`/v1/members/${encodeURIComponent(id)}`, { method: 'DELETE' });
      await print(context.stdout, `${id}\n`);
    }
    return exitCodes.ok;
  },
});

const audit = defineCommand({
  name: 'audit',
  summary: 'Show who changed what, the latest first',
  operands: '',
  options: {
    operator: { type: 'boolean', description: 'Of all tenants and the operator, by the admin key' },
    last: { type: 'string', short: 'n', value: 'NUMBER', description: 'At most so many, the latest; 50 by default' },
    json,
  },
  async run(context, values, operands) {
    takeOperands(operands);
    const wanted = values.last === undefined ? 50 : parseWhole(values.last, '--last');
    const [client, path] =
      values.operator === true ? [context.client('admin'), '/v1/admin/audit'] : [context.client('tenant'), '/v1/audit'];
    const entries: AuditEntry[] = [];
    for (let cursor: string | null | undefined; entries.length < wanted && cursor !== null; ) {
      const page: { items: AuditEntry[]; nextCursor: string | null } = await client.json(auditList, path, {
        query: { limit: Math.min(200, wanted - entries.length), cursor },
      });
      entries.push(...page.items);
      cursor = page.nextCursor;
    }
    const rows = entries.map((one) => [one.at, one.actor.name, one.action, one.target, one.requestId ?? '']);
    const table = formatTable(['AT', 'BY', 'ACTION', 'TARGET', 'REQUEST'], rows);
    await print(context.stdout, values.json === true ? `${JSON.stringify(entries, null, 2)}\n` : table);
    return exitCodes.ok;
  },
});

export const accessCommands: readonly Command[] = [
  keysList,
  keysCreate,
  keysRotate,
  keysRevoke,
  membersList,
  membersAdd,
  membersRole,
  membersRemove,
  audit,
];

/** Where the keys are that the options speak of, and who may ask for them. */
async function keysOf(
  context: Context,
  { tenant, operator }: { readonly tenant?: string; readonly operator?: boolean },
): Promise<{ client: ApiClient; path: string }> {
  if (tenant !== undefined && operator === true) throw new UsageError('--tenant and --operator: choose one');
  if (operator === true) return { client: context.client('admin'), path: '/v1/admin/keys' };
  if (tenant === undefined) return { client: context.client('tenant'), path: '/v1/keys' };
  const client = context.client('admin');
  return { client, path: `/v1/admin/tenants/${(await findTenant(client, tenant)).id}/keys` };
}

function oneOf<const Names extends readonly string[]>(names: Names, text: string, flag: string): Names[number] {
  const found = names.find((name) => name === text);
  if (found === undefined) throw new UsageError(`${flag} ${text}: one of ${names.join(', ')}`);
  return found;
}

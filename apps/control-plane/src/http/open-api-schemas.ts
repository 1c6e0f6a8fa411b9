import * as wire from '@berth/wire';
import { z } from 'zod';

type Json = Record<string, unknown>;

/** The schemas that get a name in the document; everything else stands where it is used. */
const named = z.registry<{ id: string }>();
const components: Readonly<Record<string, z.ZodType>> = {
  ApiKey: wire.apiKey,
  Attempt: wire.attempt,
  AuditEntry: wire.auditEntry,
  AuditList: wire.auditList,
  CreatedKey: wire.createdKey,
  CreateJoinTokenRequest: wire.createJoinTokenRequest,
  CreateKeyRequest: wire.createKeyRequest,
  CreateMemberRequest: wire.createMemberRequest,
  CreateOperatorKeyRequest: wire.createOperatorKeyRequest,
  CreateRunRequest: wire.createRunRequest,
  CreateTenantRequest: wire.createTenantRequest,
  DiskUsage: wire.diskUsage,
  Explanation: wire.explanation,
  Fairness: wire.fairness,
  Image: wire.image,
  ImageDetails: wire.imageDetails,
  ImageList: wire.imageList,
  ImageUsage: wire.imageUsage,
  JoinRequest: wire.joinRequest,
  JoinResponse: wire.joinResponse,
  JoinToken: wire.joinToken,
  KeyList: wire.keyList,
  LogRecord: wire.logRecord,
  Member: wire.member,
  MemberList: wire.memberList,
  Node: wire.node,
  NodeDisk: wire.nodeDisk,
  NodeList: wire.nodeList,
  Problem: wire.problem,
  PruneImagesRequest: wire.pruneImagesRequest,
  Quota: wire.quota,
  Quote: wire.quote,
  RemovedImages: wire.removedImages,
  RotateKeyRequest: wire.rotateKeyRequest,
  Run: wire.run,
  RunEvent: wire.runEvent,
  RunFailure: wire.runFailure,
  RunList: wire.runList,
  RunSpec: wire.runSpec,
  Tenant: wire.tenant,
  TenantList: wire.tenantList,
  UpdateMemberRequest: wire.updateMemberRequest,
  UpdateTenantRequest: wire.updateTenantRequest,
  UsageLine: wire.usageLine,
  UsageList: wire.usageList,
};
const ids = new Map<z.ZodType, string>();
for (const [id, schema] of Object.entries(components)) {
  named.add(schema, { id });
  ids.set(schema, id);
}

const reference = (id: string) => `#/components/schemas/${id}`;
// As clients send it: fields with defaults may be absent, and answers may grow fields that a client does not know.
const options = { io: 'input', target: 'draft-2020-12' } as const;

/** The named schemas, which refer to each other. */
export function componentSchemas(): Record<string, Json> {
  const { schemas } = z.toJSONSchema(named, { ...options, uri: reference });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, bare(schema as Json)]));
}

/** A schema where it is used: a reference when it has a name. */
export function schemaOf(schema: z.ZodType): Json {
  const id = ids.get(schema);
  return id === undefined ? bare(z.toJSONSchema(schema, options) as Json) : { $ref: reference(id) };
}

function bare({ $schema: _schema, $id: _id, ...rest }: Json): Json {
  return rest;
}

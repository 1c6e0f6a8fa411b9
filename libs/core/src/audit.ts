/** The closed list of what the audit log records. A run's own life is in its events; what erases or ends one by someone's word is here too. */
export const auditActions = [
  'tenant.create',
  'tenant.update',
  'key.create',
  'key.rotate',
  'key.revoke',
  'member.create',
  'member.update',
  'member.remove',
  'secret.write',
  'secret.delete',
  'secret.rewrap',
  'joinToken.create',
  'node.join',
  'node.drain',
  'node.undrain',
  'node.declareDead',
  'image.commit',
  'image.remove',
  'run.cancel',
  'run.delete',
] as const;
export type AuditAction = (typeof auditActions)[number];

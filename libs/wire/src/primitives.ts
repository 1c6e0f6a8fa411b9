import { z } from 'zod';

/** Text without NUL and unpaired surrogates, which Postgres cannot store, at most `maxLength` UTF-16 units. */
export const text = (maxLength: number) =>
  z
    .string()
    .max(maxLength)
    .regex(/^[^\0\p{Cs}]*$/u, 'must not contain NUL or unpaired surrogates');

/** RFC 3339 in UTC. */
export const timestamp = z.iso.datetime({ offset: true });

const prefixed = (prefix: string) =>
  z.string().regex(new RegExp(`^${prefix}_[0-9a-hjkmnp-tv-z]{26}$`), `must be ${prefix}_ and 26 characters of base32`);

export const runId = prefixed('run');
export const tenantId = prefixed('ten');
export const nodeId = prefixed('node');
export const keyId = prefixed('key');
export const memberId = prefixed('mem');

/** An image reference, as `registry/repository[:tag][@digest]`; its grammar is checked by `parseImageReference` of libs/core. */
export const imageText = z.string().min(1).max(512);

/** `sha256:` and 64 hexadecimal digits. */
export const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits');

export const label = {
  key: z
    .string()
    .max(128)
    .regex(/^[a-zA-Z0-9]([a-zA-Z0-9._/-]*[a-zA-Z0-9])?$/, 'must be letters, digits and . _ / -'),
  value: text(256),
};

/** A tenant's name; also its namespace in the embedded registry. */
export const tenantName = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 'must be a lower-case DNS label');

import { createHash } from 'node:crypto';

/*
 * Content digests (OCI image-spec, "Descriptors"): `algorithm:encoded`. Berth accepts sha256 alone, which every registry serves:
 *
 *   digest = "sha256:" 64( %x30-39 / %x61-66 )
 */

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = `sha256:${string}` & { readonly __brand: 'Digest' };

const grammar = /^sha256:[0-9a-f]{64}$/;

/** Throws a RangeError that says what is wrong, unless `text` is a digest. */
export function ensureValidDigest(text: string): asserts text is Digest {
  if (grammar.test(text)) return;
  const algorithm = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):/.exec(text)?.[1];
  if (algorithm !== undefined && algorithm !== 'sha256')
    throw new RangeError(`digest algorithm ${algorithm} is not supported, only sha256`);
  throw new RangeError('a digest must be sha256: and 64 lower-case hexadecimal digits');
}

/** The digest that `text` writes; throws as `ensureValidDigest` does. */
export function parseDigest(text: string): Digest {
  ensureValidDigest(text);
  return text;
}

export function isValidDigest(text: string): text is Digest {
  return grammar.test(text);
}

/** The digest of `bytes` (a string counts as UTF-8). */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

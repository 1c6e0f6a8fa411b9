import { createHash, timingSafeEqual } from 'node:crypto';

/** What a secret opens: an API key, a node's credential, or the one-time token with which a node joins. */
export type SecretPrefix = 'berth' | 'bnode' | 'bjoin';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const bodyLength = 32;
/** How many random bytes a secret takes: more than it has characters, because bytes that would favour some characters are skipped. */
export const secretRandomBytes = 64;
// The largest multiple of 62 below 256: bytes from here on would make the first characters of the alphabet likelier.
const unbiased = 248;

/** A new secret, `PREFIX_` and 32 characters of base62 (190 bits), from `secretRandomBytes` random bytes. */
export function newSecret(prefix: SecretPrefix, random: Uint8Array): string {
  let text = '';
  for (const byte of random) {
    if (text.length === bodyLength) break;
    if (byte < unbiased) text += alphabet.charAt(byte % alphabet.length);
  }
  if (text.length < bodyLength) throw new RangeError('a secret needs more random bytes');
  return `${prefix}_${text}`;
}

/** Whether `text` has the shape of a secret of this kind; says nothing about whether it is known. */
export function isSecret(prefix: SecretPrefix, text: string): boolean {
  return (
    text.length === prefix.length + 1 + bodyLength && text.startsWith(`${prefix}_`) && /^[0-9A-Za-z]+$/.test(text.slice(prefix.length + 1))
  );
}

/** What is stored in a secret's place: its sha256 in hex. Secrets are random, so a slow hash would add nothing. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** Compares two hashes in time that does not depend on where they differ. */
export function sameHash(a: string, b: string): boolean {
  const left = Buffer.from(a, 'utf8');
  const right = Buffer.from(b, 'utf8');
  return left.length === right.length && timingSafeEqual(left, right);
}

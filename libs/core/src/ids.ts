/*
 * Identifiers: PREFIX "_" 26 characters of Crockford's base32 in lower case. As in a ULID (github.com/ulid/spec) the first 10 characters are
 * the creation time in milliseconds and the other 16 are 80 random bits, so ids of one kind sort by age.
 */
type Branded<P extends string> = `${P}_${string}` & { readonly __brand: P };
export type RunId = Branded<'run'>;
export type TenantId = Branded<'ten'>;
export type NodeId = Branded<'node'>;
export type KeyId = Branded<'key'>;
export type MemberId = Branded<'mem'>;

interface IdsByPrefix {
  run: RunId;
  ten: TenantId;
  node: NodeId;
  key: KeyId;
  mem: MemberId;
}
export type IdPrefix = keyof IdsByPrefix;

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const timeLength = 10;
const randomLength = 16;
/** How many random bytes an id takes. */
export const idRandomBytes = 10;
const body = /^[0-9a-hjkmnp-tv-z]{26}$/;

/** A new id, from the time in Unix milliseconds and at least 10 random bytes. */
export function newId<P extends IdPrefix>(prefix: P, nowMs: number, random: Uint8Array): IdsByPrefix[P] {
  if (!Number.isSafeInteger(nowMs) || nowMs < 0 || nowMs >= 2 ** 48) throw new RangeError('time is out of range');
  if (random.length < idRandomBytes) throw new RangeError(`an id needs ${idRandomBytes} random bytes`);
  const entropy = random.subarray(0, idRandomBytes).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  return `${prefix}_${base32(BigInt(nowMs), timeLength)}${base32(entropy, randomLength)}` as IdsByPrefix[P];
}

/** Throws a RangeError unless `text` is an id with this prefix. */
export function ensureValidId<P extends IdPrefix>(prefix: P, text: string): asserts text is IdsByPrefix[P] {
  if (!isValidId(prefix, text)) throw new RangeError(`must be ${prefix}_ and 26 characters of base32`);
}

/** The id that `text` writes; throws as `ensureValidId` does. */
export function parseId<P extends IdPrefix>(prefix: P, text: string): IdsByPrefix[P] {
  ensureValidId(prefix, text);
  return text;
}

export function isValidId<P extends IdPrefix>(prefix: P, text: string): text is IdsByPrefix[P] {
  return text.startsWith(`${prefix}_`) && body.test(text.slice(prefix.length + 1));
}

function base32(value: bigint, length: number): string {
  let text = '';
  for (let i = 0, rest = value; i < length; i++, rest >>= 5n) text = alphabet.charAt(Number(rest & 31n)) + text;
  return text;
}

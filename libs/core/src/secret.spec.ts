import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashSecret, isSecret, newSecret, sameHash, secretRandomBytes } from './secret.js';

describe('secret', () => {
  it('has its prefix and 32 characters of base62', () => {
    for (const prefix of ['berth', 'bnode', 'bjoin'] as const) {
      const secret = newSecret(prefix, randomBytes(secretRandomBytes));
      expect(secret).toMatch(new RegExp(`^${prefix}_[0-9A-Za-z]{32}$`));
      expect(isSecret(prefix, secret)).toBe(true);
      expect(isSecret(prefix === 'berth' ? 'bnode' : 'berth', secret)).toBe(false);
      expect(isSecret(prefix, `${secret}\n`)).toBe(false);
    }
  });

  it('skips bytes that would make some characters likelier, and refuses to run out', () => {
    const biased = new Uint8Array(40).fill(248);
    expect(() => newSecret('berth', biased)).toThrow(RangeError);
    expect(newSecret('berth', Uint8Array.from([...new Uint8Array(8).fill(255), ...new Uint8Array(32).fill(61)]))).toBe(
      `berth_${'z'.repeat(32)}`,
    );
  });

  it('is stored as its sha256', () => {
    expect(hashSecret('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  });

  it('compares hashes as equal only when they are', () => {
    fc.assert(fc.property(fc.string(), fc.string(), (a, b) => sameHash(hashSecret(a), hashSecret(b)) === (a === b)));
    expect(sameHash('a', 'ab')).toBe(false);
  });
});

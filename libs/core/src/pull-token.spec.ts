import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isPullToken, mintPullToken, verifyPullToken } from './pull-token.js';

const secret = Buffer.alloc(32, 7);
const payload = { repositories: ['acme/app'], actions: ['pull' as const], exp: 1000 };

function forge(claims: string): string {
  const text = Buffer.from(claims).toString('base64url');
  return `bpull_${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

describe('pull token', () => {
  it('gives back what was minted until it expires', () => {
    const token = mintPullToken(payload, secret);
    expect(isPullToken(token)).toBe(true);
    expect(verifyPullToken(token, secret, 999_999)).toEqual(payload);
    expect(verifyPullToken(token, secret, 1_000_000)).toBeNull();
  });

  it('has the form that the contract fixes', () => {
    expect(mintPullToken(payload, secret)).toBe(forge(JSON.stringify(payload)));
  });

  it('is worth nothing under another secret, or when a single character is changed', () => {
    const token = mintPullToken(payload, secret);
    expect(verifyPullToken(token, Buffer.alloc(32, 8), 0)).toBeNull();
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.constantFrom('A', 'b', '0', '.', '_', '-', ''), (at, character) => {
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        // The last character of a base64url text carries bits that no byte holds.
        fc.pre(changed !== token && at < token.length - 1);
        expect(verifyPullToken(changed, secret, 0)).toBeNull();
      }),
    );
  });

  it('is refused when its signed claims are not a payload', () => {
    for (const claims of [
      '',
      'null',
      '[]',
      '{',
      '{"repositories":"a","actions":["pull"],"exp":9}',
      '{"repositories":["a"],"actions":["mount"],"exp":9}',
      '{"repositories":["a"],"tenant":1,"actions":["pull"],"exp":9}',
    ]) {
      expect(verifyPullToken(forge(claims), secret, 0)).toBeNull();
    }
    expect(verifyPullToken('', secret, 0)).toBeNull();
  });

  it('needs a secret of at least 32 bytes', () => {
    expect(() => mintPullToken(payload, Buffer.alloc(31))).toThrow(RangeError);
  });
});

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestOf, ensureValidDigest, isValidDigest, parseDigest } from './digest.js';

const vectors = JSON.parse(readFileSync(new URL('../../../test/vectors/digests.json', import.meta.url), 'utf8')) as {
  valid: string[];
  invalid: string[];
};

describe('digest', () => {
  it.each(vectors.valid)('accepts %s', (text) => {
    expect(isValidDigest(text)).toBe(true);
    expect(parseDigest(text)).toBe(text);
  });

  it.each(vectors.invalid)('refuses %j', (text) => {
    expect(isValidDigest(text)).toBe(false);
    expect(() => ensureValidDigest(text)).toThrow(RangeError);
  });

  it('names an algorithm that is well formed but not supported', () => {
    expect(() => parseDigest('sha512:00')).toThrow('sha512 is not supported');
  });

  it('is the sha256 of the bytes', () => {
    expect(digestOf('')).toBe('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    fc.assert(fc.property(fc.uint8Array(), (bytes) => isValidDigest(digestOf(bytes))));
  });
});

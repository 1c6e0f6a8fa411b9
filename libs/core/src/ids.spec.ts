import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ensureValidId, idRandomBytes, isValidId, newId, parseId } from './ids.js';

const random = fc.uint8Array({ minLength: idRandomBytes, maxLength: idRandomBytes });
const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });

describe('id', () => {
  it('has the prefix and 26 characters of base32', () => {
    expect(newId('run', 0, new Uint8Array(10))).toBe(`run_${'0'.repeat(26)}`);
    expect(newId('node', 2 ** 48 - 1, new Uint8Array(10).fill(255))).toBe('node_7zzzzzzzzzzzzzzzzzzzzzzzzz');
    fc.assert(fc.property(time, random, (now, bytes) => isValidId('ten', newId('ten', now, bytes))));
  });

  it('sorts by time, whatever the random bytes', () => {
    fc.assert(
      fc.property(time, time, random, random, (a, b, left, right) => {
        fc.pre(a < b);
        expect(newId('run', a, left) < newId('run', b, right)).toBe(true);
      }),
    );
  });

  it('differs where the random bytes differ', () => {
    fc.assert(
      fc.property(time, random, random, (now, left, right) => {
        expect(newId('run', now, left) === newId('run', now, right)).toBe(Buffer.from(left).equals(right));
      }),
    );
  });

  it('refuses other prefixes, letters that base32 leaves out, and other lengths', () => {
    const id = newId('run', 1, new Uint8Array(10));
    expect(parseId('run', id)).toBe(id);
    for (const wrong of [
      '',
      'run_',
      id.slice(0, -1),
      `${id}0`,
      id.toUpperCase(),
      `${id}\n`,
      id.replace(/0$/, 'i'),
      id.replace(/0$/, 'u'),
    ]) {
      expect(isValidId('run', wrong)).toBe(false);
      expect(() => ensureValidId('run', wrong)).toThrow(RangeError);
    }
    expect(isValidId('ten', id)).toBe(false);
  });

  it('refuses a time out of range and too little randomness', () => {
    expect(() => newId('run', -1, new Uint8Array(10))).toThrow(RangeError);
    expect(() => newId('run', 2 ** 48, new Uint8Array(10))).toThrow(RangeError);
    expect(() => newId('run', 0.5, new Uint8Array(10))).toThrow(RangeError);
    expect(() => newId('run', 0, new Uint8Array(9))).toThrow(RangeError);
  });
});

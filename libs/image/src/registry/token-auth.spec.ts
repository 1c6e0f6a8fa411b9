import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseChallenges } from './token-auth.js';

describe('a WWW-Authenticate header', () => {
  it('yields its challenges with their parameters', () => {
    expect(parseChallenges('Bearer realm="https://auth.example/token",service="reg, istry",scope="a b", Basic realm=plain')).toEqual([
      { scheme: 'bearer', parameters: { realm: 'https://auth.example/token', service: 'reg, istry', scope: 'a b' } },
      { scheme: 'basic', parameters: { realm: 'plain' } },
    ]);
  });

  it('may quote what it likes', () => {
    expect(parseChallenges('Bearer realm="a\\"b\\\\c"')[0]?.parameters.realm).toBe('a"b\\c');
  });

  it('never breaks the parser, and never takes it long', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 2000 }), (header) => {
        expect(Array.isArray(parseChallenges(header))).toBe(true);
      }),
    );
    const began = performance.now();
    parseChallenges(`Bearer ${'a="'.repeat(20_000)}`);
    parseChallenges(`Bearer a="${'\\'.repeat(100_000)}`);
    parseChallenges(', '.repeat(50_000));
    parseChallenges(' '.repeat(100_000));
    expect(performance.now() - began).toBeLessThan(500);
  });

  it('gives back what was written into it', () => {
    const value = fc.string({ maxLength: 40 }).map((text) => text.replace(/[^\x20-\x7e]/g, ''));
    fc.assert(
      fc.property(value, value, (realm, service) => {
        const quote = (text: string) => `"${text.replace(/[\\"]/g, '\\$&')}"`;
        expect(parseChallenges(`Bearer realm=${quote(realm)}, service=${quote(service)}`)).toEqual([
          { scheme: 'bearer', parameters: { realm, service } },
        ]);
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hasAmbiguousMembers } from './ambiguous-json.js';

describe('ambiguous members', () => {
  it.each([
    '{"layers":[],"layers":[]}',
    '{"layers":[],"Layers":[]}',
    '{"layers":[],"l\\u0061yers":[]}',
    '{"a":{"b":1,"b" \n:2}}',
    '[{"a":1},{"b":1,"b":2}]',
    '{"a":"\\\\","A":1}',
    '{"annotations":{"x":"1","x":"2"}}',
  ])('are found in %s', (text) => {
    JSON.parse(text);
    expect(hasAmbiguousMembers(text)).toBe(true);
  });

  it.each([
    '{}',
    '[]',
    '"a"',
    '{"a":["a","a"],"b":"a"}',
    '{"a":{"a":{"a":1}}}',
    '[{"a":1},{"a":1}]',
    '{"a":"\\"b\\":","b":1}',
    '{"annotations":{"x":"1","X":"2"},"a":"annotations"}',
  ])('are not found in %s', (text) => {
    JSON.parse(text);
    expect(hasAmbiguousMembers(text)).toBe(false);
  });

  it('are never found in what JSON.stringify writes with distinct names', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 }), (value) => {
        const text = JSON.stringify({ annotations: value });
        // Nested objects may differ in case only; compare with a count that a reviver makes.
        let ambiguous = false;
        JSON.parse(text, function (this: unknown, key: string, member: unknown) {
          const names = typeof member === 'object' && member !== null && !Array.isArray(member) ? Object.keys(member) : [];
          const free = key === 'annotations';
          if (new Set(names.map((name) => (free ? name : name.toLowerCase()))).size < names.length) ambiguous = true;
          return member;
        });
        fc.pre(!text.includes('__proto__'));
        expect(hasAmbiguousMembers(text)).toBe(ambiguous);
      }),
    );
  });

  it('reads a long string without deep recursion', () => {
    expect(hasAmbiguousMembers(`{"a":"${'\\n'.repeat(1_000_000)}","A":1}`)).toBe(true);
  });
});

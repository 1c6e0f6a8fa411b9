import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ensureValidImageReference,
  formatImageReference,
  isValidImageReference,
  manifestReference,
  parseImageReference,
} from './image-reference.js';

interface Vector {
  text: string;
  formatted: string;
  [part: string]: string;
}
const vectors = JSON.parse(readFileSync(new URL('../../../test/vectors/image-references.json', import.meta.url), 'utf8')) as {
  valid: Vector[];
  invalid: string[];
};

describe('image reference', () => {
  it.each(vectors.valid)('reads $text', ({ text, formatted, ...parts }) => {
    expect(parseImageReference(text)).toEqual(parts);
    expect(formatImageReference(parseImageReference(text))).toBe(formatted);
  });

  it.each(vectors.invalid)('refuses %j', (text) => {
    expect(isValidImageReference(text)).toBe(false);
    expect(() => ensureValidImageReference(text)).toThrow(RangeError);
  });

  it('refuses names over 255 characters, the defaults counted', () => {
    expect(isValidImageReference('a'.repeat(237))).toBe(true);
    expect(isValidImageReference('a'.repeat(238))).toBe(false);
    expect(isValidImageReference(`a:${'t'.repeat(128)}`)).toBe(true);
    expect(isValidImageReference(`a:${'t'.repeat(129)}`)).toBe(false);
  });

  it('formats to what it reads back the same, whatever it was written as', () => {
    const component = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/);
    const registry = fc.constantFrom('', 'localhost/', 'registry.berth/', 'example.com:5000/', '[::1]:80/');
    const tag = fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}$/), { nil: undefined });
    const path = fc.array(component, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(registry, path, tag, (host, components, name) => {
        const reference = parseImageReference(`${host}${components.join('/')}${name === undefined ? '' : `:${name}`}`);
        expect(parseImageReference(formatImageReference(reference))).toEqual(reference);
      }),
    );
  });

  it('never fails but with a RangeError', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z:@/.[\]-]{0,40}$/)), (text) => {
        try {
          parseImageReference(text);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });

  it('asks a registry for the digest before the tag, and for latest when neither is there', () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    expect(manifestReference(parseImageReference(`a:v1@${digest}`))).toBe(digest);
    expect(manifestReference(parseImageReference('a:v1'))).toBe('v1');
    expect(manifestReference(parseImageReference('a'))).toBe('latest');
  });
});

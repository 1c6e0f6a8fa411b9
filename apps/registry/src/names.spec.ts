import { join, sep } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isValidRepositoryName, isValidTag, parseManifestReference } from './names.js';

describe('names', () => {
  it.each(['acme/web', 'acme/web/api', 'a/b-c', 'a/b--c', 'a/b_c', 'a/b__c', 'a/b.c', 'acme-2/0'])('takes %s as a repository', (name) => {
    expect(isValidRepositoryName(name)).toBe(true);
  });

  it.each([
    'acme',
    'acme/',
    '/acme',
    'acme//web',
    'acme/../b',
    'acme/.',
    'acme/..',
    'acme/_blobs',
    'acme/.tmp',
    'acme/Web',
    'acme/a___b',
    'acme/a..b',
    'acme/-a',
    'acme/a-',
    'acme/web\n',
    'acme/wéb',
    `acme/${'a'.repeat(240)}`,
    '',
  ])('refuses %j as a repository', (name) => {
    expect(isValidRepositoryName(name)).toBe(false);
  });

  it('admits no repository and no tag that leaves its directory or meets the storage’s own entries', () => {
    const piece = fc.constantFrom('..', '.', '/', '_', '-', 'a', 'A', '0', '\\', '\0', '%2e', '_blobs', '\n', ' ');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const text = pieces.join('');
        if (isValidRepositoryName(text)) {
          expect(join('/root', text)).toBe(`/root/${text}`);
          for (const part of text.split(sep)) expect(part).toMatch(/^[a-z0-9]/);
        }
        if (isValidTag(text)) expect(join('/root', text)).toBe(`/root/${text}`);
      }),
    );
  });

  it('tells tags from digests', () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    expect(parseManifestReference(digest)).toEqual({ kind: 'digest', digest });
    expect(parseManifestReference('v1.0')).toEqual({ kind: 'tag', tag: 'v1.0' });
    expect(parseManifestReference('a'.repeat(128))).not.toBeNull();
    for (const text of ['a'.repeat(129), 'sha256:short', '.hidden', '-a', 'a b', '', 'sha512:00'])
      expect(parseManifestReference(text)).toBeNull();
  });
});

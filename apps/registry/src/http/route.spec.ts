import { describe, expect, it } from 'vitest';
import { RegistryError } from '../errors.js';
import { parseRoute, parseShape, type Route } from './route.js';

const digest = `sha256:${'0'.repeat(64)}`;
const route = (path: string): Route => parseRoute(parseShape(path));
const codeOf = (path: string): string => {
  try {
    route(path);
  } catch (error) {
    if (error instanceof RegistryError) return `${error.status} ${error.code}`;
  }
  return 'no refusal';
};

describe('a path', () => {
  it.each([
    ['/v2', { kind: 'base' }],
    ['/v2/', { kind: 'base' }],
    ['/v2/_catalog', { kind: 'catalog' }],
    ['/v2/_berth/images', { kind: 'images' }],
    [`/v2/acme/web/blobs/${digest}`, { kind: 'blob', repository: 'acme/web', digest }],
    [`/v2/acme/web/blobs/${digest.replace(':', '%3A')}`, { kind: 'blob', repository: 'acme/web', digest }],
    ['/v2/acme/web/blobs/uploads/', { kind: 'uploads', repository: 'acme/web' }],
    ['/v2/acme/web/blobs/uploads', { kind: 'uploads', repository: 'acme/web' }],
    ['/v2/acme/web/blobs/uploads/some-id', { kind: 'upload', repository: 'acme/web', id: 'some-id' }],
    ['/v2/acme/web/manifests/latest', { kind: 'manifest', repository: 'acme/web', reference: { kind: 'tag', tag: 'latest' } }],
    [`/v2/acme/web/manifests/${digest}`, { kind: 'manifest', repository: 'acme/web', reference: { kind: 'digest', digest } }],
    ['/v2/acme/web/tags/list', { kind: 'tags', repository: 'acme/web' }],
    [`/v2/acme/web/referrers/${digest}`, { kind: 'referrers', repository: 'acme/web', digest }],
  ])('%s is read', (path, expected) => {
    expect(route(path)).toEqual(expected);
  });

  it('is read from its end, so that repositories may bear the fixed words', () => {
    expect(route('/v2/acme/manifests/tags/manifests/list')).toMatchObject({ kind: 'manifest', repository: 'acme/manifests/tags' });
    expect(route(`/v2/acme/blobs/uploads/blobs/${digest}`)).toMatchObject({ kind: 'blob', repository: 'acme/blobs/uploads' });
    expect(route('/v2/acme/tags/list/tags/list')).toMatchObject({ kind: 'tags', repository: 'acme/tags/list' });
  });

  it.each([
    ['/v2/acme/manifests/latest', '400 NAME_INVALID'],
    ['/v2/Acme/web/manifests/latest', '400 NAME_INVALID'],
    ['/v2/acme/../other/manifests/latest', '400 NAME_INVALID'],
    ['/v2/acme/%2e%2e/other/manifests/latest', '400 NAME_INVALID'],
    ['/v2/acme//web/manifests/latest', '400 NAME_INVALID'],
    ['/v2/acme/web%00/manifests/latest', '400 NAME_INVALID'],
    ['/v2/acme/web/manifests/..', '400 TAG_INVALID'],
    ['/v2/acme/web/manifests/sha256:xyz', '400 DIGEST_INVALID'],
    ['/v2/acme/web/blobs/sha512:00', '400 DIGEST_INVALID'],
    ['/v2/acme/web/blobs/..', '400 DIGEST_INVALID'],
    ['/v2/acme/web/referrers/latest', '400 DIGEST_INVALID'],
    ['/v2/acme/web/manifests/..%2f..%2fx', '404 UNSUPPORTED'],
    ['/v2/acme/web/manifests/%zz', '404 UNSUPPORTED'],
    ['/v2/acme/web', '404 UNSUPPORTED'],
    ['/v2/x', '404 UNSUPPORTED'],
    ['/v1/acme/web/tags/list', '404 UNSUPPORTED'],
  ])('%s answers %s', (path, expected) => {
    expect(codeOf(path)).toBe(expected);
  });
});

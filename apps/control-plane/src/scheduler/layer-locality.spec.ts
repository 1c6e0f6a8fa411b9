import { describe, expect, it } from 'vitest';
import { missingBytes } from './layer-locality.js';

describe('the bytes that a node lacks of an image', () => {
  const base = { digest: 'sha256:base', size: 100 };
  const top = { digest: 'sha256:top', size: 7 };
  const missing = missingBytes(
    new Map([
      ['node_all', new Set(['sha256:base', 'sha256:top', 'sha256:other'])],
      ['node_base', new Set(['sha256:base'])],
    ]),
    new Map([['sha256:image', [base, top, top]]]),
  );

  it('are those of its layers that it has not, each layer once', () => {
    expect(['node_all', 'node_base', 'node_none'].map((node) => missing(node, 'sha256:image'))).toEqual([0, 7, 107]);
  });

  it('are none where nobody has described the image', () => {
    expect(missing('node_none', 'sha256:unknown')).toBe(0);
  });
});

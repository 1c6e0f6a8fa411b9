import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseByteRange, parseChunkRange } from './byte-range.js';

describe('a Range header', () => {
  it.each([
    ['bytes=0-0', { first: 0, last: 0 }],
    ['bytes=2-', { first: 2, last: 9 }],
    ['bytes=2-100', { first: 2, last: 9 }],
    ['bytes=-3', { first: 7, last: 9 }],
    ['bytes=-100', { first: 0, last: 9 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=10-20', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-2', 'whole'],
    ['bytes=-', 'whole'],
    ['bytes=0-1,3-4', 'whole'],
    ['items=0-1', 'whole'],
    [undefined, 'whole'],
  ])('%s of ten bytes', (header, expected) => {
    expect(parseByteRange(header, 10)).toEqual(expected);
  });

  it('never reaches beyond the blob', () => {
    const bound = fc.option(fc.nat({ max: 40 }), { nil: undefined });
    fc.assert(
      fc.property(bound, bound, fc.nat({ max: 20 }), (first, last, size) => {
        const range = parseByteRange(`bytes=${first ?? ''}-${last ?? ''}`, size);
        if (typeof range === 'string') return;
        expect(range.first).toBeGreaterThanOrEqual(0);
        expect(range.last).toBeGreaterThanOrEqual(range.first);
        expect(range.last).toBeLessThan(size);
      }),
    );
  });
});

describe('a Content-Range of a chunk', () => {
  it('is FIRST-LAST', () => {
    expect(parseChunkRange('0-4')).toEqual({ first: 0, last: 4 });
    for (const text of ['bytes 0-4/5', '4-0', '0-', '-4', 'a-b', '0-4-5', '', `0-${'9'.repeat(16)}`])
      expect(parseChunkRange(text)).toBeNull();
  });
});

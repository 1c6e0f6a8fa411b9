import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Page, paginate } from './page.js';

const self = (text: string): string => text;

describe('pagination', () => {
  it('reaches every item exactly once, whatever the page size', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1 })), fc.integer({ min: 1, max: 7 }), (unsorted, n) => {
        const items = [...unsorted].sort();
        const seen: string[] = [];
        let query: URLSearchParams | null = new URLSearchParams({ n: String(n) });
        while (query !== null) {
          const page: Page<string> = paginate(items, self, query, { items: 5, weight: { max: 8, of: (item) => item.length } });
          seen.push(...page.items);
          query = page.next === null ? null : new URLSearchParams(page.next);
        }
        expect(seen).toEqual(items);
      }),
    );
  });

  it('answers nothing and no next page for n=0', () => {
    expect(paginate(['a'], self, new URLSearchParams('n=0'), { items: 5 })).toEqual({ items: [], next: null });
  });

  it('begins after an item that is no longer there', () => {
    expect(paginate(['a', 'c'], self, new URLSearchParams('last=b'), { items: 5 }).items).toEqual(['c']);
  });

  it.each(['-1', 'x', '1.5', '', '1e9'])('refuses n=%s', (n) => {
    expect(() => paginate(['a'], self, new URLSearchParams({ n }), { items: 5 })).toThrow('whole number');
  });
});

import { RegistryError } from '../errors.js';

/** One page of a list, and the query that asks for the next. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** `n=...&last=...`; null on the last page. */
  readonly next: string | null;
}

/** How much a page may hold, in items and in whatever `weigh` counts. */
export interface PageLimits<Item> {
  readonly items: number;
  readonly weight?: { readonly max: number; readonly of: (item: Item) => number };
}

/**
 * The items after `last`, at most `n` and within the limits (but at least one), of a list in ASCII order of `keyOf`. `n=0` answers nothing and
 * no next page, as the specification says. Throws PAGINATION_INVALID.
 */
export function paginate<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  query: URLSearchParams,
  limits: PageLimits<Item>,
): Page<Item> {
  const size = pageSize(query.get('n'), limits.items);
  const last = query.get('last');
  const rest = last === null ? items : items.filter((item) => keyOf(item) > last);
  const page = withinWeight(rest.slice(0, size), limits);
  const end = page.at(-1);
  if (end === undefined || page.length === rest.length) return { items: page, next: null };
  return { items: page, next: new URLSearchParams({ n: String(size), last: keyOf(end) }).toString() };
}

function withinWeight<Item>(items: readonly Item[], { weight }: PageLimits<Item>): readonly Item[] {
  if (weight === undefined) return items;
  let sum = 0;
  const end = items.findIndex((item, index) => {
    sum += weight.of(item);
    return index > 0 && sum > weight.max;
  });
  return end < 0 ? items : items.slice(0, end);
}

function pageSize(text: string | null, defaultSize: number): number {
  if (text === null) return defaultSize;
  if (!/^[0-9]{1,9}$/.test(text)) throw new RegistryError('PAGINATION_INVALID', 'n must be a whole number');
  return Math.min(Number(text), defaultSize);
}

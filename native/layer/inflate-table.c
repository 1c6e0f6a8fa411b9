#include "layer/inflate-table.h"

#include <string.h>

#define CODE_BITS_MAX 15
#define SYMBOLS_MAX 288

/* `extra` counts towards what is taken until `coded` adds the code itself. */
static inflate_entry entry(enum inflate_kind kind, unsigned value, unsigned extra)
{
	return (inflate_entry)(kind == INFLATE_LITERAL) << 31 | value << 16 | (unsigned)kind << 12 | extra;
}

static inflate_entry coded(inflate_entry symbol, unsigned bits)
{
	return (symbol | bits << 8) + bits;
}

static inflate_entry link_to(unsigned start, unsigned index_bits)
{
	return entry(INFLATE_LINK, start, 0) | index_bits << 8;
}

static inflate_entry litlen_symbol(unsigned symbol)
{
	static const uint16_t base[29] = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258 };
	static const uint8_t extra[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 };
	if (symbol < 256)
		return entry(INFLATE_LITERAL, symbol, 0);
	if (symbol == 256)
		return entry(INFLATE_END, 0, 0);
	return symbol < 286 ? entry(INFLATE_COPY, base[symbol - 257], extra[symbol - 257]) : entry(INFLATE_INVALID, 0, 0);
}

static inflate_entry distance_symbol(unsigned symbol)
{
	if (symbol >= 30)
		return entry(INFLATE_INVALID, 0, 0);
	unsigned extra = symbol < 4 ? 0 : symbol / 2 - 1;
	unsigned base = symbol < 4 ? symbol + 1 : ((2 + symbol % 2) << extra) + 1;
	return entry(INFLATE_COPY, base, extra);
}

static inflate_entry codelen_symbol(unsigned symbol)
{
	return entry(INFLATE_LITERAL, symbol, 0);
}

/* Deflate packs codes from their first bit on, so a table is indexed by them reversed. */
static unsigned reverse(unsigned code, unsigned bits)
{
	code = (code & 0x5555) << 1 | (code >> 1 & 0x5555);
	code = (code & 0x3333) << 2 | (code >> 2 & 0x3333);
	code = (code & 0x0f0f) << 4 | (code >> 4 & 0x0f0f);
	code = (code & 0x00ff) << 8 | code >> 8;
	return code >> (16 - bits);
}

static bool is_prefix_code(const unsigned counts[CODE_BITS_MAX + 1], bool may_be_empty)
{
	int left = 1;
	unsigned used = 0;
	for (unsigned bits = 1; bits <= CODE_BITS_MAX; bits++) {
		left = 2 * left - (int)counts[bits];
		if (left < 0)
			return false;
		used += counts[bits];
	}
	return left == 0 || (used == 0 && may_be_empty) || (used == 1 && counts[1] == 1);
}

/* How many bits the second table needs that begins with a code of `bits`: as few as hold all codes with its prefix. */
static unsigned second_bits(const unsigned counts[CODE_BITS_MAX + 1], unsigned bits, unsigned first_bits)
{
	unsigned n = bits - first_bits;
	for (int left = (1 << n) - (int)counts[bits]; left > 0 && bits < CODE_BITS_MAX; n++)
		left = 2 * left - (int)counts[++bits];
	return n;
}

static bool build(inflate_entry *table, unsigned size, unsigned first_bits, const uint8_t *lengths, unsigned count, bool may_be_empty,
		  inflate_entry (*of)(unsigned))
{
	unsigned counts[CODE_BITS_MAX + 1] = { 0 }, places[CODE_BITS_MAX + 2] = { 0 };
	uint16_t sorted[SYMBOLS_MAX];
	for (unsigned i = 0; i < count; i++)
		counts[lengths[i]]++;
	counts[0] = 0;
	if (!is_prefix_code(counts, may_be_empty))
		return false;
	for (unsigned bits = 1; bits <= CODE_BITS_MAX; bits++)
		places[bits + 1] = places[bits] + counts[bits];
	unsigned symbols = places[CODE_BITS_MAX + 1];
	for (unsigned i = 0; i < count; i++) {
		if (lengths[i])
			sorted[places[lengths[i]]++] = (uint16_t)i;
	}
	const unsigned mask = (1u << first_bits) - 1;
	/* Only the two incomplete codes that are allowed leave entries untouched. */
	for (unsigned i = 0; i <= mask && symbols <= 1; i++)
		table[i] = entry(INFLATE_INVALID, 0, 0);
	unsigned code = 0, end = 1u << first_bits, link = ~0u, start = 0, index_bits = 0;
	for (unsigned i = 0, bits = 0; i < symbols; i++, code++) {
		code <<= lengths[sorted[i]] - bits;
		bits = lengths[sorted[i]];
		inflate_entry e = coded(of(sorted[i]), bits);
		unsigned reversed = reverse(code, bits);
		if (bits <= first_bits) {
			for (unsigned at = reversed; at <= mask; at += 1u << bits)
				table[at] = e;
		} else {
			if ((reversed & mask) != link) {
				link = reversed & mask;
				index_bits = second_bits(counts, bits, first_bits);
				start = end;
				end += 1u << index_bits;
				if (end > size)
					return false;
				table[link] = link_to(start, index_bits);
			}
			for (unsigned at = reversed >> first_bits; at < 1u << index_bits; at += 1u << (bits - first_bits))
				table[start + at] = e;
		}
		counts[bits]--;
	}
	return true;
}

bool inflate_build_litlen(inflate_entry *table, const uint8_t *lengths, unsigned count)
{
	return lengths[256] && build(table, INFLATE_LITLEN_SIZE, INFLATE_LITLEN_BITS, lengths, count, false, litlen_symbol);
}

bool inflate_build_distance(inflate_entry *table, const uint8_t *lengths, unsigned count)
{
	return build(table, INFLATE_DISTANCE_SIZE, INFLATE_DISTANCE_BITS, lengths, count, true, distance_symbol);
}

bool inflate_build_codelen(inflate_entry *table, const uint8_t *lengths, unsigned count)
{
	return build(table, INFLATE_CODELEN_SIZE, INFLATE_CODELEN_BITS, lengths, count, false, codelen_symbol);
}

#include "layer/inflate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layer/inflate-codes.h"

/* The bytes of the bit buffer go back to the input's side: a stored block and a trailer begin at a byte. */
static void align(struct inflate *s)
{
	take(s, s->bit_count % 8);
}

static int next_byte(struct inflate *s, unsigned *out)
{
	if (s->bit_count < 8) {
		int r = inflate_refill_slowly(s);
		if (r < 0)
			return r;
	}
	*out = take(s, 8);
	/* Borrowed zeros lie behind all real bytes. */
	return s->bit_count < 8 * s->borrowed ? inflate_malformed(s, "it ends early") : 0;
}

static int next_number(struct inflate *s, unsigned bytes, uint32_t *out)
{
	*out = 0;
	for (unsigned i = 0; i < bytes; i++) {
		unsigned byte;
		int r = next_byte(s, &byte);
		if (r < 0)
			return r;
		*out |= (uint32_t)byte << 8 * i;
	}
	return 0;
}

static int stored_block(struct inflate *s)
{
	uint32_t lengths;
	align(s);
	int r = next_number(s, 4, &lengths);
	if (r < 0)
		return r;
	size_t left = lengths & 0xffff;
	if (left != (~lengths >> 16))
		return inflate_malformed(s, "a stored block of unclear length");
	while (left > 0) {
		if (s->out >= s->out_full && (r = inflate_turn(s)) < 0)
			return r;
		unsigned byte;
		if (s->bit_count > 0 || s->in == s->in_end) {
			r = next_byte(s, &byte);
			if (r < 0)
				return r;
			*s->out++ = (unsigned char)byte;
			left--;
			continue;
		}
		/* A refill leaves bits of bytes not yet taken above the count; with whole bytes gone by hand they must not stay. */
		s->bits = 0;
		size_t part = (size_t)(s->in_end - s->in), room = (size_t)(s->out_full - s->out);
		part = part < left ? part : left;
		part = part < room ? part : room;
		memcpy(s->out, s->in, part);
		s->out += part;
		s->in += part;
		left -= part;
	}
	return 0;
}

static bool fixed_tables(struct inflate *s)
{
	uint8_t lengths[288], distances[32];
	for (unsigned i = 0; i < 288; i++)
		lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
	memset(distances, 5, sizeof distances);
	return inflate_build_litlen(s->litlen, lengths, 288) && inflate_build_distance(s->distance, distances, 32);
}

static int read_lengths(struct inflate *s, const inflate_entry *codes, uint8_t *lengths, unsigned count)
{
	for (unsigned i = 0; i < count;) {
		if (refill(s) < 0)
			return -s->err->code;
		inflate_entry e = codes[s->bits & ((1u << INFLATE_CODELEN_BITS) - 1)];
		if (ENTRY_KIND(e) != INFLATE_LITERAL)
			return inflate_malformed(s, "a code without a meaning");
		take(s, ENTRY_TAKEN(e));
		unsigned symbol = ENTRY_VALUE(e), times = 1, value = symbol;
		if (symbol == 16) {
			if (i == 0)
				return inflate_malformed(s, "it repeats a length before the first");
			value = lengths[i - 1];
			times = 3 + take(s, 2);
		} else if (symbol > 16) {
			value = 0;
			times = symbol == 17 ? 3 + take(s, 3) : 11 + take(s, 7);
		}
		if (times > count - i)
			return inflate_malformed(s, "too many code lengths");
		memset(lengths + i, (int)value, times);
		i += times;
	}
	return 0;
}

static int dynamic_tables(struct inflate *s)
{
	static const uint8_t order[19] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 };
	inflate_entry codes[INFLATE_CODELEN_SIZE];
	uint8_t code_lengths[19] = { 0 }, lengths[288 + 32] = { 0 };
	if (refill(s) < 0)
		return -s->err->code;
	unsigned literals = 257 + take(s, 5), distances = 1 + take(s, 5), count = 4 + take(s, 4);
	if (literals > 286 || distances > 30)
		return inflate_malformed(s, "too many codes");
	for (unsigned i = 0; i < count; i++) {
		if (refill(s) < 0)
			return -s->err->code;
		code_lengths[order[i]] = (uint8_t)take(s, 3);
	}
	if (!inflate_build_codelen(codes, code_lengths, 19))
		return inflate_malformed(s, "no prefix code");
	int r = read_lengths(s, codes, lengths, literals + distances);
	if (r < 0)
		return r;
	if (!inflate_build_litlen(s->litlen, lengths, literals) || !inflate_build_distance(s->distance, lengths + literals, distances))
		return inflate_malformed(s, "no prefix code");
	return 0;
}

static int deflate_stream(struct inflate *s)
{
	for (bool last = false; !last;) {
		if (refill(s) < 0)
			return -s->err->code;
		last = take(s, 1);
		unsigned type = take(s, 2);
		int r = 0;
		if (type == 0)
			r = stored_block(s);
		else if (type == 1)
			r = fixed_tables(s) ? 0 : inflate_malformed(s, "no prefix code");
		else
			r = type == 2 ? dynamic_tables(s) : inflate_malformed(s, "a block of unknown type");
		if (r == 0 && type != 0)
			r = inflate_codes(s);
		if (r < 0)
			return r;
		if (s->bit_count < 8 * s->borrowed)
			return inflate_malformed(s, "it ends early");
	}
	return 0;
}

static int skip_string(struct inflate *s)
{
	for (unsigned byte = 1; byte != 0;) {
		int r = next_byte(s, &byte);
		if (r < 0)
			return r;
	}
	return 0;
}

enum { HEADER_CRC = 2, EXTRA = 4, NAME = 8, COMMENT = 16, RESERVED = 0xe0 };

static int member_header(struct inflate *s)
{
	uint32_t magic, ignored, count;
	int r = next_number(s, 4, &magic);
	if (r < 0)
		return r;
	unsigned flags = magic >> 24;
	if ((magic & 0xffffff) != 0x088b1f || (flags & RESERVED))
		return inflate_malformed(s, "no gzip");
	for (int i = 0; i < 6; i++) {
		r = next_byte(s, &ignored);
		if (r < 0)
			return r;
	}
	if (flags & EXTRA) {
		r = next_number(s, 2, &count);
		for (; r == 0 && count > 0; count--)
			r = next_byte(s, &ignored);
	}
	if (r == 0 && (flags & NAME))
		r = skip_string(s);
	if (r == 0 && (flags & COMMENT))
		r = skip_string(s);
	if (r == 0 && (flags & HEADER_CRC))
		r = next_number(s, 2, &ignored);
	return r;
}

static int member(struct inflate *s)
{
	uint32_t crc, length;
	int r = member_header(s);
	s->member = s->out;
	s->before = 0;
	if (r == 0)
		r = deflate_stream(s);
	if (r < 0)
		return r;
	align(s);
	r = next_number(s, 4, &crc);
	if (r == 0)
		r = next_number(s, 4, &length);
	if (r == 0 && length != (uint32_t)(s->before + (uint64_t)(s->out - s->member)))
		r = inflate_malformed(s, "its length is not what it says");
	return r;
}

/* Whether any real byte is left. */
static int more(struct inflate *s)
{
	if (s->bit_count > 8 * s->borrowed)
		return 1;
	while (s->in == s->in_end && !s->ended) {
		int r = inflate_next_piece(s);
		if (r < 0)
			return r;
	}
	return s->in < s->in_end;
}

int inflate_gzip(const struct byte_source *from, const struct byte_sink *to, struct rt_error *err)
{
	struct inflate *s = calloc(1, sizeof *s);
	if (!s)
		return rt_fail(err, ENOMEM, "decompress the layer");
	s->from = from;
	s->to = to;
	s->err = err;
	int r = to->turn(to->self, 0, &s->chunk, err);
	s->out = s->chunk;
	s->out_full = s->chunk + SINK_CHUNK;
	do {
		if (r >= 0)
			r = member(s);
		if (r >= 0)
			r = more(s);
	} while (r > 0);
	if (r == 0)
		r = inflate_turn(s);
	free(s);
	return r;
}

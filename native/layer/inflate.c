#include "layer/inflate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layer/inflate-table.h"

#define WINDOW SINK_WINDOW
#define MATCH_MAX 258

struct inflate {
	const struct byte_source *from;
	const struct byte_sink *to;
	struct rt_error *err;
	const unsigned char *in, *in_end;
	uint64_t bits;     /* the next bits of the input, the first one lowest */
	unsigned bit_count;
	unsigned borrowed; /* zero bytes put behind the input's end */
	bool ended;
	unsigned char *chunk, *out, *out_full;
	uint64_t before;   /* bytes of the member in earlier chunks */
	unsigned char *member; /* where the member begins in this chunk, or the chunk's start */
	inflate_entry litlen[INFLATE_LITLEN_SIZE];
	inflate_entry distance[INFLATE_DISTANCE_SIZE];
};

static int malformed(struct inflate *s, const char *what)
{
	return rt_fail(s->err, EPROTO, "a layer is not compressed as its media type says: %s", what);
}

/* Takes up the next piece of input; at the end there is none, and `ended` says so. */
static int next_piece(struct inflate *s)
{
	size_t len = 0;
	if (s->ended)
		return 0;
	int r = s->from->pull(s->from->self, &s->in, &len, s->err);
	if (r < 0)
		return r;
	s->in_end = s->in + len;
	s->ended = len == 0;
	return 0;
}

static int refill_slowly(struct inflate *s)
{
	while (s->bit_count < 56) {
		if (s->in == s->in_end) {
			int r = next_piece(s);
			if (r < 0)
				return r;
		}
		if (s->in < s->in_end)
			s->bits |= (uint64_t)*s->in++ << s->bit_count;
		/* Zeros stand in for what is not there; more of them than the window of bits holds were really used. */
		else if (++s->borrowed > 8)
			return malformed(s, "it ends early");
		s->bit_count += 8;
	}
	return 0;
}

/* Makes at least 56 bits available. */
static inline int refill(struct inflate *s)
{
	if (__builtin_expect(s->in_end - s->in < 8, 0))
		return refill_slowly(s);
	uint64_t word;
	memcpy(&word, s->in, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	s->bits |= word << s->bit_count;
	s->in += (63 - s->bit_count) >> 3;
	s->bit_count |= 56;
	return 0;
}

static inline unsigned take(struct inflate *s, unsigned n)
{
	unsigned value = (unsigned)(s->bits & ((1ull << n) - 1));
	s->bits >>= n;
	s->bit_count -= n;
	return value;
}

/* Hands a full chunk over and goes on in the next. */
static int turn(struct inflate *s)
{
	s->before += (uint64_t)(s->out - s->member);
	int r = s->to->turn(s->to->self, (size_t)(s->out - s->chunk), &s->chunk, s->err);
	if (r < 0)
		return r;
	s->out = s->member = s->chunk;
	s->out_full = s->chunk + SINK_CHUNK;
	return 0;
}

/* Copies a match; may write up to 31 bytes beyond it, which the slack allows. */
static inline void copy_match(unsigned char *to, size_t distance, size_t len)
{
	const unsigned char *from = to - distance;
	unsigned char *end = to + len;
	if (distance >= 16) {
		do {
			memcpy(to, from, 16);
			to += 16;
			from += 16;
		} while (to < end);
	} else if (distance == 1) {
		memset(to, *from, len);
	} else if (distance >= 8) {
		do {
			memcpy(to, from, 8);
			to += 8;
			from += 8;
		} while (to < end);
	} else {
		while (to < end)
			*to++ = *from++;
	}
}

static int huffman_block(struct inflate *s)
{
	const unsigned litlen_mask = (1u << INFLATE_LITLEN_BITS) - 1, distance_mask = (1u << INFLATE_DISTANCE_BITS) - 1;
	unsigned char *out = s->out;
	for (;;) {
		if (__builtin_expect(out >= s->out_full, 0)) {
			s->out = out;
			int r = turn(s);
			if (r < 0)
				return r;
			out = s->out;
		}
		if (refill(s) < 0)
			return -s->err->code;
		inflate_entry e = s->litlen[s->bits & litlen_mask];
		/* Three literals of the first table take 33 of the 56 bits; whatever comes after them wants a refill. */
		for (int i = 0; i < 3 && ENTRY_KIND(e) == INFLATE_LITERAL; i++) {
			s->bits >>= ENTRY_LENGTH(e);
			s->bit_count -= ENTRY_LENGTH(e);
			*out++ = (unsigned char)ENTRY_VALUE(e);
			e = s->litlen[s->bits & litlen_mask];
		}
		if (ENTRY_KIND(e) == INFLATE_LITERAL)
			continue;
		if (refill(s) < 0)
			return -s->err->code;
		if (ENTRY_KIND(e) == INFLATE_LINK) {
			e = s->litlen[ENTRY_VALUE(e) + (s->bits >> INFLATE_LITLEN_BITS & ((1u << ENTRY_EXTRA(e)) - 1))];
			if (ENTRY_KIND(e) == INFLATE_LITERAL) {
				take(s, ENTRY_LENGTH(e));
				*out++ = (unsigned char)ENTRY_VALUE(e);
				continue;
			}
		}
		take(s, ENTRY_LENGTH(e));
		if (__builtin_expect(ENTRY_KIND(e) != INFLATE_COPY, 0)) {
			s->out = out;
			return ENTRY_KIND(e) == INFLATE_END ? 0 : malformed(s, "a code without a meaning");
		}
		/* A length takes 20 bits at most, a distance 28: one refill serves both. */
		size_t len = ENTRY_VALUE(e) + take(s, ENTRY_EXTRA(e));
		inflate_entry d = s->distance[s->bits & distance_mask];
		if (ENTRY_KIND(d) == INFLATE_LINK)
			d = s->distance[ENTRY_VALUE(d) + (s->bits >> INFLATE_DISTANCE_BITS & ((1u << ENTRY_EXTRA(d)) - 1))];
		if (__builtin_expect(ENTRY_KIND(d) != INFLATE_COPY, 0))
			return malformed(s, "a code without a meaning");
		take(s, ENTRY_LENGTH(d));
		size_t distance = ENTRY_VALUE(d) + take(s, ENTRY_EXTRA(d));
		if (__builtin_expect(distance > (size_t)(out - s->member) && distance > s->before + (uint64_t)(out - s->member), 0))
			return malformed(s, "it refers to what was before its start");
		copy_match(out, distance, len);
		out += len;
	}
}

/* The bytes of the bit buffer go back to the input's side: a stored block and a trailer begin at a byte. */
static void align(struct inflate *s)
{
	take(s, s->bit_count % 8);
}

static int next_byte(struct inflate *s, unsigned *out)
{
	if (s->bit_count < 8) {
		int r = refill_slowly(s);
		if (r < 0)
			return r;
	}
	*out = take(s, 8);
	/* Borrowed zeros lie behind all real bytes. */
	return s->bit_count < 8 * s->borrowed ? malformed(s, "it ends early") : 0;
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
		return malformed(s, "a stored block of unclear length");
	while (left > 0) {
		if (s->out >= s->out_full && (r = turn(s)) < 0)
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
			return malformed(s, "a code without a meaning");
		take(s, ENTRY_LENGTH(e));
		unsigned symbol = ENTRY_VALUE(e), times = 1, value = symbol;
		if (symbol == 16) {
			if (i == 0)
				return malformed(s, "it repeats a length before the first");
			value = lengths[i - 1];
			times = 3 + take(s, 2);
		} else if (symbol > 16) {
			value = 0;
			times = symbol == 17 ? 3 + take(s, 3) : 11 + take(s, 7);
		}
		if (times > count - i)
			return malformed(s, "too many code lengths");
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
		return malformed(s, "too many codes");
	for (unsigned i = 0; i < count; i++) {
		if (refill(s) < 0)
			return -s->err->code;
		code_lengths[order[i]] = (uint8_t)take(s, 3);
	}
	if (!inflate_build_codelen(codes, code_lengths, 19))
		return malformed(s, "no prefix code");
	int r = read_lengths(s, codes, lengths, literals + distances);
	if (r < 0)
		return r;
	if (!inflate_build_litlen(s->litlen, lengths, literals) || !inflate_build_distance(s->distance, lengths + literals, distances))
		return malformed(s, "no prefix code");
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
			r = fixed_tables(s) ? 0 : malformed(s, "no prefix code");
		else
			r = type == 2 ? dynamic_tables(s) : malformed(s, "a block of unknown type");
		if (r == 0 && type != 0)
			r = huffman_block(s);
		if (r < 0)
			return r;
		if (s->bit_count < 8 * s->borrowed)
			return malformed(s, "it ends early");
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
		return malformed(s, "no gzip");
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
		r = malformed(s, "its length is not what it says");
	return r;
}

/* Whether any real byte is left. */
static int more(struct inflate *s)
{
	if (s->bit_count > 8 * s->borrowed)
		return 1;
	while (s->in == s->in_end && !s->ended) {
		int r = next_piece(s);
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
		r = turn(s);
	free(s);
	return r;
}

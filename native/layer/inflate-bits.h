/* What is known while a gzip stream is being inflated, and its bits one after the other. */
#ifndef BERTH_LAYER_INFLATE_BITS_H
#define BERTH_LAYER_INFLATE_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "layer/bytes.h"
#include "layer/inflate-table.h"

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

/* EPROTO: the stream is not what it should be. */
int inflate_malformed(struct inflate *s, const char *what);

/* Makes at least 56 bits available, byte by byte and from the next piece where this one ends. */
must_check int inflate_refill_slowly(struct inflate *s);

/* Hands a full chunk over and goes on in the next. */
must_check int inflate_turn(struct inflate *s);

/* Takes up the next piece of input; at the end there is none, and `ended` says so. */
must_check int inflate_next_piece(struct inflate *s);

static inline __attribute__((always_inline)) uint64_t load64(const unsigned char *p)
{
	uint64_t word;
	memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* Makes at least 56 bits available. */
static inline int refill(struct inflate *s)
{
	if (__builtin_expect(s->in_end - s->in < 8, 0))
		return inflate_refill_slowly(s);
	s->bits |= load64(s->in) << s->bit_count;
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

#endif

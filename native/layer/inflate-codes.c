#include "layer/inflate-codes.h"

#include <string.h>

/* Copies a match; may write up to 32 bytes beyond it, which the slack allows. */
static inline __attribute__((always_inline)) void copy_match(unsigned char *to, size_t distance, size_t len)
{
	const unsigned char *from = to - distance;
	unsigned char *end = to + len;
	if (__builtin_expect(distance >= 16, 1)) {
		/* Most matches are shorter than this, and a branch on their length would be guessed wrong. */
		memcpy(to, from, 16);
		memcpy(to + 16, from + 16, 16);
		while (__builtin_expect((to += 32) < end, 0)) {
			from += 32;
			memcpy(to, from, 16);
			memcpy(to + 16, from + 16, 16);
		}
		return;
	}
	if (distance == 1) {
		memset(to, *from, len);
		return;
	}
	if (distance < 8) {
		/* Eight bytes by hand; from there on the pattern also repeats at a distance of eight or more. */
		static const uint8_t multiple[8] = { 0, 8, 8, 9, 8, 10, 12, 14 };
		for (int i = 0; i < 8; i++)
			to[i] = from[i];
		to += 8;
		from = to - multiple[distance];
	}
	while (to < end) {
		memcpy(to, from, 8);
		to += 8;
		from += 8;
	}
}

/* What becomes of a block's codes. */
enum progress { MORE, BLOCK_END };

/* A run reads and writes without looking whether it may, so it needs so much input before each step; the sink's slack is room enough. */
#define RUN_INPUT 24

static inline __attribute__((always_inline)) uint64_t extra_of(inflate_entry e, uint64_t bits)
{
	return (bits & ((1ull << ENTRY_TAKEN(e)) - 1)) >> ENTRY_LENGTH(e);
}

/*
 * Decodes as long as there is input in plenty and room. All that changes is held in locals: a byte written through `out` could else be part of the state, for all
 * the compiler knows, and each literal would cost a reload of it.
 */
static inline __attribute__((always_inline)) int decode_run(struct inflate *s)
{
	const unsigned litlen_mask = (1u << INFLATE_LITLEN_BITS) - 1, distance_mask = (1u << INFLATE_DISTANCE_BITS) - 1;
	const inflate_entry *const litlen = s->litlen, *const distances = s->distance;
	const unsigned char *in = s->in, *const in_stop = s->in_end - RUN_INPUT;
	unsigned char *out = s->out, *const out_full = s->out_full;
	const unsigned char *const oldest = s->member - (s->before < SINK_WINDOW ? s->before : SINK_WINDOW);
	uint64_t bits = s->bits;
	unsigned count = s->bit_count;
	const char *wrong = NULL;
	int progress = MORE;
#define REFILL()                                 \
	do {                                     \
		bits |= load64(in) << count;     \
		in += (63 - count) >> 3;         \
		count |= 56;                     \
	} while (0)
#define DROP(e) (bits >>= ENTRY_TAKEN(e), count -= ENTRY_TAKEN(e))
	REFILL();
	while (in <= in_stop && out < out_full) {
		/* Looked up before the refill, which it then does not wait for: what the last step left is enough for a first table. */
		inflate_entry e = litlen[bits & litlen_mask];
		REFILL();
		/* Three literals of the first table take 33 of the 56 bits, and a length 20 of what they leave. */
		if (ENTRY_IS_LITERAL(e)) {
			DROP(e);
			*out++ = (unsigned char)(e >> 16);
			e = litlen[bits & litlen_mask];
			if (ENTRY_IS_LITERAL(e)) {
				DROP(e);
				*out++ = (unsigned char)(e >> 16);
				e = litlen[bits & litlen_mask];
				if (ENTRY_IS_LITERAL(e)) {
					DROP(e);
					*out++ = (unsigned char)(e >> 16);
					continue;
				}
			}
		}
		if (__builtin_expect(ENTRY_KIND(e) != INFLATE_COPY, 0)) {
			if (ENTRY_KIND(e) == INFLATE_LINK)
				e = litlen[ENTRY_VALUE(e) + (bits >> INFLATE_LITLEN_BITS & ((1u << ENTRY_LENGTH(e)) - 1))];
			if (ENTRY_IS_LITERAL(e)) {
				DROP(e);
				*out++ = (unsigned char)(e >> 16);
				continue;
			}
			if (ENTRY_KIND(e) == INFLATE_END) {
				DROP(e);
				progress = BLOCK_END;
				break;
			}
			if (ENTRY_KIND(e) == INFLATE_INVALID) {
				wrong = "a code without a meaning";
				break;
			}
		}
		const size_t len = ENTRY_VALUE(e) + extra_of(e, bits);
		DROP(e);
		inflate_entry d = distances[bits & distance_mask];
		/* A distance takes 28 bits at most. */
		REFILL();
		if (__builtin_expect(ENTRY_KIND(d) == INFLATE_LINK, 0))
			d = distances[ENTRY_VALUE(d) + (bits >> INFLATE_DISTANCE_BITS & ((1u << ENTRY_LENGTH(d)) - 1))];
		const size_t distance = ENTRY_VALUE(d) + extra_of(d, bits);
		if (__builtin_expect(ENTRY_KIND(d) != INFLATE_COPY || distance > (size_t)(out - oldest), 0)) {
			wrong = ENTRY_KIND(d) != INFLATE_COPY ? "a code without a meaning" : "it refers to what was before its start";
			break;
		}
		DROP(d);
		copy_match(out, distance, len);
		out += len;
	}
#undef REFILL
#undef DROP
	s->in = in;
	s->out = out;
	s->bits = bits;
	s->bit_count = count;
	return wrong ? inflate_malformed(s, wrong) : progress;
}

static int decode_run_portably(struct inflate *s)
{
	return decode_run(s);
}

#ifdef __x86_64__
__attribute__((target("bmi,bmi2"))) static int decode_run_natively(struct inflate *s)
{
	return decode_run(s);
}
#endif

/* One literal or one match, however little input there is. */
static int decode_step(struct inflate *s)
{
	const unsigned litlen_mask = (1u << INFLATE_LITLEN_BITS) - 1, distance_mask = (1u << INFLATE_DISTANCE_BITS) - 1;
	if (refill(s) < 0)
		return -s->err->code;
	inflate_entry e = s->litlen[s->bits & litlen_mask];
	if (ENTRY_KIND(e) == INFLATE_LINK)
		e = s->litlen[ENTRY_VALUE(e) + (s->bits >> INFLATE_LITLEN_BITS & ((1u << ENTRY_LENGTH(e)) - 1))];
	if (ENTRY_KIND(e) == INFLATE_INVALID)
		return inflate_malformed(s, "a code without a meaning");
	const uint64_t bits = s->bits;
	take(s, ENTRY_TAKEN(e));
	if (ENTRY_IS_LITERAL(e)) {
		*s->out++ = (unsigned char)ENTRY_VALUE(e);
		return MORE;
	}
	if (ENTRY_KIND(e) == INFLATE_END)
		return BLOCK_END;
	/* A length takes 20 bits at most, a distance 28: one refill serves both. */
	const size_t len = ENTRY_VALUE(e) + extra_of(e, bits);
	inflate_entry d = s->distance[s->bits & distance_mask];
	if (ENTRY_KIND(d) == INFLATE_LINK)
		d = s->distance[ENTRY_VALUE(d) + (s->bits >> INFLATE_DISTANCE_BITS & ((1u << ENTRY_LENGTH(d)) - 1))];
	if (ENTRY_KIND(d) != INFLATE_COPY)
		return inflate_malformed(s, "a code without a meaning");
	const size_t distance = ENTRY_VALUE(d) + extra_of(d, s->bits);
	take(s, ENTRY_TAKEN(d));
	if (distance > (uint64_t)(s->out - s->member) + s->before)
		return inflate_malformed(s, "it refers to what was before its start");
	copy_match(s->out, distance, len);
	s->out += len;
	return MORE;
}

int inflate_codes(struct inflate *s)
{
	int (*run)(struct inflate *) = decode_run_portably;
#ifdef __x86_64__
	if (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
		run = decode_run_natively;
#endif
	int r = MORE;
	while (r == MORE) {
		if (s->out >= s->out_full && (r = inflate_turn(s)) < 0)
			return r;
		r = s->in_end - s->in >= RUN_INPUT ? run(s) : decode_step(s);
	}
	return r == BLOCK_END ? 0 : r;
}

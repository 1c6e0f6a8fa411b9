#include "layer/inflate-bits.h"

#include <errno.h>

int inflate_malformed(struct inflate *s, const char *what)
{
	return rt_fail(s->err, EPROTO, "a layer is not compressed as its media type says: %s", what);
}

int inflate_next_piece(struct inflate *s)
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

int inflate_refill_slowly(struct inflate *s)
{
	while (s->bit_count < 56) {
		if (s->in == s->in_end) {
			int r = inflate_next_piece(s);
			if (r < 0)
				return r;
		}
		if (s->in < s->in_end)
			s->bits |= (uint64_t)*s->in++ << s->bit_count;
		/* Zeros stand in for what is not there; more of them than the window of bits holds were really used. */
		else if (++s->borrowed > 8)
			return inflate_malformed(s, "it ends early");
		s->bit_count += 8;
	}
	return 0;
}

int inflate_turn(struct inflate *s)
{
	s->before += (uint64_t)(s->out - s->member);
	int r = s->to->turn(s->to->self, (size_t)(s->out - s->chunk), &s->chunk, s->err);
	if (r < 0)
		return r;
	s->out = s->member = s->chunk;
	s->out_full = s->chunk + SINK_CHUNK;
	return 0;
}

/* Decompression, gzip's above all: whatever the input, and the same whatever the pieces that it comes in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/pieces.h"
#include "layer/decompress.h"

#define OUTPUT_MAX (1u << 20)

/* A sink that keeps a sum of what it is given, and the window before each chunk that bytes.h promises. */
struct summing {
	unsigned char *memory;
	uint64_t bytes, sum;
	int turns;
};

static int turn(void *self, size_t len, unsigned char **chunk, struct rt_error *err)
{
	struct summing *s = self;
	unsigned char *from = s->memory + SINK_WINDOW;
	expect(len <= SINK_CHUNK + SINK_SLACK && (s->turns > 0 || len == 0));
	s->turns++;
	for (size_t i = 0; i < len; i++)
		s->sum = (s->sum ^ from[i]) * 1099511628211ull;
	s->bytes += len;
	memmove(s->memory, s->memory + len, SINK_WINDOW);
	*chunk = from;
	return s->bytes > OUTPUT_MAX ? rt_fail(err, EFBIG, "too much") : 0;
}

static int run(enum compression how, const struct bytes *input, size_t piece_size, struct summing *out)
{
	struct rt_error err = { 0 };
	struct pieces p;
	pieces_open(&p, input->at, input->left, piece_size);
	*out = (struct summing){ .memory = calloc(1, SINK_WINDOW + SINK_CHUNK + SINK_SLACK) };
	expect(out->memory != NULL);
	const struct byte_sink sink = { turn, out };
	int r = decompress(how, &p.source, &sink, &err);
	expect(r == 0 || ((err.code == EPROTO || err.code == EFBIG) && err.text[0]));
	free(out->memory);
	pieces_close(&p);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct summing whole, parts;
	uint8_t control = take_byte(&b);
	enum compression how = control & 1 ? COMPRESSION_ZSTD : COMPRESSION_GZIP;
	int r = run(how, &b, b.left, &whole);
	int again = run(how, &b, 1 + (control >> 1) % 40, &parts);
	expect(r == again);
	if (r == 0)
		expect(whole.bytes == parts.bytes && whole.sum == parts.sum);
	return 0;
}

/*
 * Bytes on their way from one stage of the layer pipeline to the next. A source is pulled: it gives its next piece, which stays valid until the
 * next pull. A sink is filled in place.
 */
#ifndef BERTH_LAYER_BYTES_H
#define BERTH_LAYER_BYTES_H

#include <stddef.h>

#include "common/error.h"

struct byte_source {
	/* The next piece; *len 0 at the end, and then again and again. */
	int (*pull)(void *self, const unsigned char **piece, size_t *len, struct rt_error *err);
	void *self;
};

#define SINK_WINDOW (32u << 10) /* bytes kept before a chunk: what deflate may refer back to */
#define SINK_CHUNK (256u << 10) /* bytes of a chunk */
#define SINK_SLACK 512u         /* bytes after it that a writer may use beyond the measure */

struct byte_sink {
	/*
	 * Hands over `len` bytes, at most SINK_CHUNK + SINK_SLACK, of the chunk got last, and gives the next one. Before the first byte of the new chunk stand the last
	 * SINK_WINDOW bytes of what was handed over, as far as there were any. The first call has len 0.
	 */
	int (*turn)(void *self, size_t len, unsigned char **chunk, struct rt_error *err);
	void *self;
};

#endif

/* A byte_source (layer/bytes.h) that gives out an input in pieces, each in memory of its own, so that the sanitizers see every step beyond one. */
#ifndef BERTH_FUZZ_PIECES_H
#define BERTH_FUZZ_PIECES_H

#include "fuzz/fuzz.h"
#include "layer/bytes.h"

struct pieces {
	struct byte_source source;
	struct bytes rest;
	size_t size; /* of a piece; never 0 */
	unsigned char *piece;
};

void pieces_open(struct pieces *p, const uint8_t *data, size_t size, size_t piece_size);
void pieces_close(struct pieces *p);

#endif

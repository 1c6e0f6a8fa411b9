/*
 * A bounded row of chunks from one thread that fills them to one or two that read them, each reader seeing all. Its memory is fixed; whoever is ahead waits.
 */
#ifndef BERTH_LAYER_RELAY_H
#define BERTH_LAYER_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "layer/bytes.h"

#define RELAY_CHUNKS 4
#define RELAY_READERS_MAX 2

struct relay {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned char *memory;
	size_t len[RELAY_CHUNKS];
	uint64_t filled;               /* chunks handed over so far */
	uint64_t taken[RELAY_READERS_MAX]; /* chunks that each reader is done with; UINT64_MAX once it has left */
	bool holding[RELAY_READERS_MAX];
	unsigned readers;
	bool ended;
};

/* What one reader pulls from; a byte_source's self. */
struct relay_reader {
	struct relay *relay;
	unsigned index;
};

must_check int relay_open(struct relay *r, unsigned readers, struct rt_error *err);
/* After the threads have ended. */
void relay_close(struct relay *r);

/* The sink's side, a byte_sink's `turn` with the relay as self. -ECANCELED, with no message, once every reader has left. */
int relay_turn(void *relay, size_t len, unsigned char **chunk, struct rt_error *err);
/* No more will come. */
void relay_end(struct relay *r);

/* A reader's side, a byte_source's `pull`. */
int relay_pull(void *reader, const unsigned char **piece, size_t *len, struct rt_error *err);
/* The reader wants no more; the others go on. */
void relay_leave(struct relay_reader *reader);

#endif

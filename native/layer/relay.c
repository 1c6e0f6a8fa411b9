#include "layer/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPAN (SINK_WINDOW + SINK_CHUNK + SINK_SLACK)

int relay_open(struct relay *r, unsigned readers, struct rt_error *err)
{
	*r = (struct relay){ .readers = readers, .memory = malloc((size_t)RELAY_CHUNKS * SPAN) };
	if (!r->memory)
		return rt_fail(err, ENOMEM, "read the layer");
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->moved, NULL);
	return 0;
}

void relay_close(struct relay *r)
{
	if (!r->memory)
		return;
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->moved);
	free(r->memory);
	r->memory = NULL;
}

static unsigned char *chunk_at(const struct relay *r, uint64_t number)
{
	return r->memory + number % RELAY_CHUNKS * SPAN + SINK_WINDOW;
}

static uint64_t slowest(const struct relay *r)
{
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < r->readers; i++)
		least = r->taken[i] < least ? r->taken[i] : least;
	return least;
}

int relay_turn(void *relay, size_t len, unsigned char **chunk, struct rt_error *err)
{
	(void)err;
	struct relay *r = relay;
	pthread_mutex_lock(&r->lock);
	const uint64_t next = r->filled + (len > 0);
	/* The window is copied before the full chunk is handed over, while it is surely still there. */
	while (slowest(r) != UINT64_MAX && next >= slowest(r) + RELAY_CHUNKS)
		pthread_cond_wait(&r->moved, &r->lock);
	const bool deserted = slowest(r) == UINT64_MAX;
	if (!deserted && len > 0) {
		unsigned char *from = chunk_at(r, r->filled), *to = chunk_at(r, next);
		memcpy(to - SINK_WINDOW, from + len - SINK_WINDOW, SINK_WINDOW);
		r->len[r->filled % RELAY_CHUNKS] = len;
		r->filled = next;
		pthread_cond_broadcast(&r->moved);
	}
	*chunk = chunk_at(r, next);
	pthread_mutex_unlock(&r->lock);
	return deserted ? -ECANCELED : 0;
}

void relay_end(struct relay *r)
{
	pthread_mutex_lock(&r->lock);
	r->ended = true;
	pthread_cond_broadcast(&r->moved);
	pthread_mutex_unlock(&r->lock);
}

int relay_pull(void *self, const unsigned char **piece, size_t *len, struct rt_error *err)
{
	(void)err;
	const struct relay_reader *reader = self;
	struct relay *r = reader->relay;
	const unsigned i = reader->index;
	pthread_mutex_lock(&r->lock);
	if (r->holding[i]) {
		r->taken[i]++;
		r->holding[i] = false;
		pthread_cond_broadcast(&r->moved);
	}
	while (r->filled == r->taken[i] && !r->ended)
		pthread_cond_wait(&r->moved, &r->lock);
	r->holding[i] = r->filled > r->taken[i];
	*len = r->holding[i] ? r->len[r->taken[i] % RELAY_CHUNKS] : 0;
	*piece = chunk_at(r, r->taken[i]);
	pthread_mutex_unlock(&r->lock);
	return 0;
}

void relay_leave(struct relay_reader *reader)
{
	struct relay *r = reader->relay;
	pthread_mutex_lock(&r->lock);
	r->taken[reader->index] = UINT64_MAX;
	r->holding[reader->index] = false;
	pthread_cond_broadcast(&r->moved);
	pthread_mutex_unlock(&r->lock);
}

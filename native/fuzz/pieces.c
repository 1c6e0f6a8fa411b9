#include "fuzz/pieces.h"

#include <stdlib.h>
#include <string.h>

static int pull(void *self, const unsigned char **piece, size_t *len, struct rt_error *err)
{
	struct pieces *p = self;
	(void)err;
	size_t n = p->rest.left < p->size ? p->rest.left : p->size;
	/* What was given before is not valid any more. */
	free(p->piece);
	p->piece = malloc(n ? n : 1);
	expect(p->piece != NULL);
	if (n)
		memcpy(p->piece, p->rest.at, n);
	p->rest.at += n;
	p->rest.left -= n;
	*piece = p->piece;
	*len = n;
	return 0;
}

void pieces_open(struct pieces *p, const uint8_t *data, size_t size, size_t piece_size)
{
	*p = (struct pieces){ .source = { .pull = pull, .self = p }, .rest = { data, size }, .size = piece_size ? piece_size : 1 };
}

void pieces_close(struct pieces *p)
{
	free(p->piece);
	p->piece = NULL;
}

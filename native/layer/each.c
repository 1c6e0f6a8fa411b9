#include "layer/each.h"

#include <errno.h>
#include <stdlib.h>

#include "common/scope.h"

int layer_each(struct tar_reader *t, layer_entry_taker *take, void *taker, const uint64_t *implied, uint64_t *entries, struct rt_error *err)
{
	cleanup_free struct tar_entry *e = malloc(sizeof *e);
	if (!e)
		return rt_fail(err, ENOMEM, "read the layer's entries");
	int r;
	while ((r = tar_next(t, e, err)) > 0) {
		r = take(taker, e, err);
		if (r < 0)
			return r;
		++*entries;
		if (t->entries + *implied > t->limits.max_entries)
			return rt_fail(err, EFBIG, "the layer holds more than %llu entries", (unsigned long long)t->limits.max_entries);
	}
	return r;
}

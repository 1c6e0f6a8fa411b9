/* The walk over a layer's entries that packing and unpacking share. */
#ifndef BERTH_LAYER_EACH_H
#define BERTH_LAYER_EACH_H

#include <stdint.h>

#include "common/error.h"
#include "layer/tar.h"

/* Takes one entry and, as far as it wants it, its content. Returns 0 or -errno, which ends the walk. */
typedef int layer_entry_taker(void *taker, const struct tar_entry *e, struct rt_error *err);

/*
 * Hands every entry of the archive to `take`, in order, and counts those it took in *entries. `implied` is the taker's running count of
 * directories that no entry asked for: they count against the reader's max_entries too (EFBIG). Returns 0 at the archive's end, or -errno.
 */
must_check int layer_each(struct tar_reader *t, layer_entry_taker *take, void *taker, const uint64_t *implied, uint64_t *entries,
			  struct rt_error *err);

#endif

/*
 * Work on hostile bytes, done by a process of its own that can do next to nothing: it keeps the descriptors it has and may read, write and count in
 * memory; it opens nothing, sends nothing, starts nothing, and has no capability. A call beyond that kills it.
 */
#ifndef BERTH_LAYER_SANDBOX_H
#define BERTH_LAYER_SANDBOX_H

#include <stddef.h>

#include "common/error.h"

enum sandbox_kind {
	SANDBOX_BYTES,
	/*
	 * Reads trees, too: it may open, list and look at what its descriptors lead to, whoever owns it. The directory it stands in is its root, so that no path
	 * of its own leads elsewhere; a descriptor given to it should be of an unattached mount, which leads no further up.
	 */
	SANDBOX_TREES,
};

/*
 * Runs `work` in such a process and returns what it returned, with its error. What `context` (of `len` bytes) holds when it ends is copied back. The process
 * ends with this one, however that ends.
 */
must_check int sandbox_run(enum sandbox_kind kind, int (*work)(void *context, struct rt_error *err), void *context, size_t len, struct rt_error *err);

#endif

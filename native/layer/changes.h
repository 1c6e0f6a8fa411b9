/*
 * What a container changed: its writable layer, read beside the layers beneath it. The tree is the container's own and may change while it is read: links
 * are never followed, mounts never entered, and what vanishes meanwhile is left out.
 */
#ifndef BERTH_LAYER_CHANGES_H
#define BERTH_LAYER_CHANGES_H

#include <stdbool.h>
#include <sys/stat.h>

#include "common/error.h"
#include "layer/idmap.h"

enum change_kind { CHANGE_ADDED = 'A', CHANGE_CHANGED = 'C', CHANGE_DELETED = 'D' };

struct change {
	enum change_kind kind;
	const char *path;     /* relative to the root, of components that are never "." or "..", as the container named them */
	int dir;              /* the directory of the writable layer that holds it, -1 for what an opaque directory hides */
	const char *base;     /* its name there */
	struct stat st;       /* as in the writable layer; of a deletion: as beneath it */
	bool opaque;          /* a directory that hides all that the layers beneath have in it */
	bool hidden;          /* a deletion that the opaque directory above it means already */
};

struct changes_request {
	int upper, lower;        /* roots: of the writable layer, and of the layers beneath as one tree */
	const struct idmap *map; /* of the owners in the writable layer; NULL: as on the host */
	/* Called for each change, parents first and names in the order of their bytes. Above 0 ends the walk well, below 0 as a failure. */
	int (*each)(void *context, const struct change *change, struct rt_error *err);
	void *context;
};

/*
 * Walks the changes. A directory is one when it is new, opaque, or differs from the one beneath in mode, owner or time; a file whenever it is in the
 * writable layer. EFBIG for a tree that no archive of a layer may hold (limits.h).
 */
must_check int changes_walk(const struct changes_request *request, struct rt_error *err);

#endif

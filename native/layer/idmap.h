/* A user namespace that exists only for its id map, to be given to mount_setattr(2). */
#ifndef BERTH_LAYER_IDMAP_H
#define BERTH_LAYER_IDMAP_H

#include <stdint.h>

#include "common/error.h"

/* Container ids first .. first+count-1 are the host's base .. base+count-1; users and groups alike. */
struct idmap {
	uint32_t first, base, count;
};

/* Reads "FIRST:BASE:COUNT"; EINVAL unless both ranges are of valid ids. */
must_check int idmap_parse(const char *text, struct idmap *out, struct rt_error *err);

/* Opens a user namespace with that map; the caller closes it, and nothing else of it remains. */
must_check int idmap_open(const struct idmap *map, int *userns_fd, struct rt_error *err);

#endif

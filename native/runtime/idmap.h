/* Mounts whose ids are mapped (mount_setattr(2), MOUNT_ATTR_IDMAP). */
#ifndef BERTH_RUNTIME_IDMAP_H
#define BERTH_RUNTIME_IDMAP_H

#include "runtime/config.h"

/* The user namespaces that carry the maps of a config's mounts; -1 where none is open. */
struct idmaps {
	int container;        /* of the container itself */
	int last;             /* of the mount seen last: many have the same maps */
	struct id_maps uid, gid; /* those of `last` */
};

#define IDMAPS_NONE { .container = -1, .last = -1 }

/*
 * Maps the ids of a detached tree: by the mount's own maps, or by those of the container's user namespace. EINVAL when there
 * are none, and when the file system knows no mapped mounts.
 */
must_check int idmap_apply(struct idmaps *maps, const struct config *c, const struct mount_spec *m, bool recursive, int tree, struct rt_error *err);
void idmap_close(struct idmaps *maps);
#define cleanup_idmaps __attribute__((cleanup(idmap_close)))

#endif

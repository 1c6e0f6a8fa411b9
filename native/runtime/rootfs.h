/*
 * The container's file system, built by its first process inside its own mount namespace.
 *
 * Every path is looked up below a descriptor of the root file system (openat2, RESOLVE_IN_ROOT, no magic links), and every
 * mount goes to the descriptor that the look-up gave: an image's symlinks stay inside, and nothing is looked up twice.
 */
#ifndef BERTH_RUNTIME_ROOTFS_H
#define BERTH_RUNTIME_ROOTFS_H

#include "runtime/prepare.h"

/* Attaches the root tree, and on it every mount of the config, then devices, masks and read-only paths. The old root is still there. */
must_check int rootfs_build(const struct config *c, struct prepared *p, const struct cgroups *g, struct rt_error *err);

/* Makes the root file system "/" and lets go of the host's. */
must_check int rootfs_enter(const struct config *c, const struct prepared *p, struct rt_error *err);

/* A detached mount of a file system that the container's own namespaces shape. Returns its descriptor; the file system's own words are in err. */
must_check int mount_make(const char *type, const char *source, const char *destination, const struct mount_options *o, uint64_t attrs, struct rt_error *err);

/*
 * Mounts of type cgroup and cgroup2: the container's own view of its cgroup. A cgroup namespace keeps the rest of the tree out
 * of sight; without one, the cgroup's own directories are bound from the host. "cgroup" is what this machine has, be it v1,
 * v2 or both; "cgroup2" is v2 alone.
 */
must_check int mount_cgroup(const struct config *c, const struct cgroups *g, const struct mount_spec *m, const struct mount_options *o, int target, struct rt_error *err);

/* Attaches all mounts of the config. */
must_check int mounts_attach(const struct config *c, struct prepared *p, const struct cgroups *g, struct rt_error *err);

/* Populates /dev: default devices, config.devices, links. Leaves a /dev that is a bind mount alone. */
must_check int devices_populate(const struct config *c, const struct prepared *p, struct rt_error *err);

/* Masks and read-only paths. */
must_check int masks_apply(const struct config *c, const struct prepared *p, struct rt_error *err);

enum target_links {
	TARGET_FOLLOW,  /* links are followed inside the root */
	TARGET_REFUSE,  /* no part of the path may be a link */
};

/*
 * Opens (O_PATH) the place of a mount in the root file system, making missing directories, and a missing last part as a
 * directory or an empty file. Returns the descriptor or -errno.
 */
must_check int target_open(int rootfs, const char *path, bool directory, enum target_links links, struct rt_error *err);

#endif
